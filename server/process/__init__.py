"""The server as a process, and the parent that restarts it."""
