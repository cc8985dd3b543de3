"""The writer of the log: one writer, group commit."""
