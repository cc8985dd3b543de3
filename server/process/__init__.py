"""The server's process, and the supervisor that restarts it."""
