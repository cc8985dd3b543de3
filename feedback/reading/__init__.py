"""The log as training, evaluation and trials read it."""
