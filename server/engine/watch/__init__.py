"""Detects an engine that has died or hangs."""
