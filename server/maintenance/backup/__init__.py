"""`pawl backup` and `pawl restore`: database and adapters' files in one portable folder."""
