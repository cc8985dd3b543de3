"""`pawl backup` and `pawl restore`: the database and adapter files in one portable folder."""
