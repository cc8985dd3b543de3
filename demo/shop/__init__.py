"""Bramblewick, the made-up shop: its questions, its users and their hidden taste."""
