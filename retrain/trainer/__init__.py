"""The trainer: a job file in, an adapter folder and event lines out; knows no database."""
