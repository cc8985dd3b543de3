"""Starting with or without the database."""
