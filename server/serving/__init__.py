"""Answers requests: chooses the version, calls the engine, records and sends the answer."""
