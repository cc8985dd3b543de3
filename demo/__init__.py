"""Bramblewick: a made-up shop whose simulated users show the whole loop."""
