"""The reward model of `judge = "people"`: training it, and scoring answers with it."""
