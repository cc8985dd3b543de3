"""What a chat or completion request may ask for: the one place that says so, for every engine."""
