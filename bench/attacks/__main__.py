"""Runs each attack against a server of its own and prints the effect on other clients."""

from bench.attacks.run import main

# Separate from `run`, because a spawned process does not import a package's `__main__`.
main()
