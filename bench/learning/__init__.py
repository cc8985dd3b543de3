"""Benchmarks of learning from simulated feedback: `python -m bench.learning`."""
