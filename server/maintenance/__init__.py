"""Daily work: retention, clean-up, backup."""
