"""The judge of `judge = "people"`: votes, training, checks, and asking it for scores."""
