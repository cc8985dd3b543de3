"""Several servers on one database: who is alive, who has loaded what, and catching up."""
