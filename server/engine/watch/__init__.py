"""Finds an engine that hangs."""
