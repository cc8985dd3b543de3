"""A local SQLite file that buffers rows while the database is unavailable."""
