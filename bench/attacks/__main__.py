"""Attacks a server of its own, one attack after another, and says what others noticed."""

from bench.attacks.run import main

# Apart from `run`: a process that multiprocessing spawns does not import a package's `__main__`.
main()
