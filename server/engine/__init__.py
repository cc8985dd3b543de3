"""Engines: the interface, the vLLM engine and a fake engine for trials and tests."""
