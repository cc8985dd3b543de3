"""Startup of a server, with or without its database."""
