"""Learning methods, one module each."""
