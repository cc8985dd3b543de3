"""Attacks a running server and measures the effect on other clients: `python -m bench.attacks`."""
