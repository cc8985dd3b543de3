"""The cases of `python -m bench.learning`, by name."""

from collections.abc import Mapping

from bench.learning.harness import Case

CASES: Mapping[str, Case] = {}
