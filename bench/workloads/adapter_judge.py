"""A judge for the fake engine that prefers any adapter to the base model.

Set it as `judge = "bench.workloads.adapter_judge:likes_adapters"`.
"""

from server.engine.fake.answer import sentinel

_BASE = sentinel("base")


def likes_adapters(conversation: object, a: str, b: str) -> float:
    """1 where only `b` is the base model's answer, 0 where only `a` is."""
    del conversation
    return 0.5 + (b.startswith(_BASE) - a.startswith(_BASE)) / 2
