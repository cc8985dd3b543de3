"""Attacks on a running server, and what others notice of them: `python -m bench.attacks`."""
