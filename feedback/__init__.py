"""The log: who asked what, which version answered, what people thought of it."""
