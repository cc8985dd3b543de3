"""A local SQLite file for what the database could not take yet."""
