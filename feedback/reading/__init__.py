"""The log's read models for training, evaluation and trials."""
