"""The `pawl` command line."""
