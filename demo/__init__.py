"""Demonstrates the whole feedback loop with the simulated users of Bramblewick, a made-up shop."""
