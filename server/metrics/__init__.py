"""What `/metrics` exports."""
