"""Judges for the fake engine that prefer any adapter to the base model.

Set one as `judge = "bench.workloads.adapter_judge:likes_adapters"`.
"""

from common.hashing import unit_interval
from server.engine.fake.answer import sentinel

_BASE = sentinel("base")
MOSTLY = 0.6
"""Share of the questions on which `mostly_likes_adapters` prefers the adapter."""


def likes_adapters(conversation: object, a: str, b: str) -> float:
    """1 where only `b` is the base model's answer, 0 where only `a` is."""
    del conversation
    return 0.5 + (b.startswith(_BASE) - a.startswith(_BASE)) / 2


def mostly_likes_adapters(conversation: object, a: str, b: str) -> float:
    """Like `likes_adapters` on `MOSTLY` of the questions, and the opposite on the others."""
    score = likes_adapters(conversation, a, b)
    return score if unit_interval(str(conversation).encode()) < MOSTLY else 1 - score
