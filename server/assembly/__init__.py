"""Puts the parts of one server together."""
