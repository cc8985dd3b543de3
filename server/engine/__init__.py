"""Engines: the protocol, vLLM behind it, and a fake that ships."""
