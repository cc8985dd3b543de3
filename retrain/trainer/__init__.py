"""The trainer: reads a job file, writes an adapter folder and event lines; uses no database."""
