"""Answers requests: from the route to the last byte."""
