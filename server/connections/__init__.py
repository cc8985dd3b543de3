"""Limits on TCP connections: sizes, timeouts, and their number."""
