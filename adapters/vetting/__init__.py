"""Whether an adapter's files may be loaded: read as data, never executed."""
