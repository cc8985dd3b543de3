"""How records become rows, and what a database error means."""
