"""The log's writer: one per process, with group commit and a fallback to the spool."""
