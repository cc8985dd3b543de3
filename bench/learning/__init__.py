"""What the loop learns from what people give: `python -m bench.learning`."""
