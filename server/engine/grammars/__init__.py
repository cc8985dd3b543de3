"""Compiles each grammar in a process that can be stopped, before the engine compiles it."""
