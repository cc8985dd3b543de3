"""The demo's harm metric, set in `retrain.evaluation.harms`: whether an answer is rude."""

from collections.abc import Mapping, Sequence
from typing import Any

from demo.shop.taste import is_rude


def rudeness(conversation: Sequence[Mapping[str, Any]], answer: str) -> float:
    """Return 1 for a rude answer, else 0; ignores the conversation."""
    del conversation
    return float(is_rude(answer))
