"""Constructs the services of a server and wires them together."""
