"""Grammars are tried in a process that can be stopped, before the engine compiles them."""
