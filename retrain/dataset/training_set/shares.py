"""How many pairs of each origin a training set takes, and which ones. Pure."""

from collections.abc import Iterable
from hashlib import blake2b
from heapq import nsmallest

from retrain.config import RetrainConfig
from retrain.dataset.plan import most_beside
from retrain.trainer.examples.rows import Origin

FRESH: tuple[Origin, ...] = ("counterpart", "self_play", "synthetic")
"""Origins of the pairs that a run makes itself, in the order in which they are admitted."""


def share_of(origin: Origin, config: RetrainConfig) -> float:
    """Return the largest share of all pairs that pairs of an origin may have; 1 is no limit."""
    match origin:
        case "counterpart":
            return config.counterparts.share
        case "self_play":
            return config.self_play.share
        case "replay":
            return config.replay_share
        case "synthetic":
            return config.synthetic.share
        case _:
            return 1.0


def admitted(found: int, others: int, share: float, room: int) -> int:
    """Return how many pairs are taken, so that they are at most `share` of all.

    Args:
        found: Pairs there are.
        others: Pairs that are in the set already.
        share: Largest share of the pairs in the whole.
        room: Pairs that still fit below the maximum.

    """
    return max(0, int(min(found, most_beside(others, share) + _ROUNDING, room)))


_ROUNDING = 1e-9


def drawn(identifiers: Iterable[str], count: int, seed: int) -> frozenset[str]:
    """Return a random choice of `count` identifiers, which the seed decides."""
    return frozenset(nsmallest(count, identifiers, key=lambda name: _priority(seed, name)))


def _priority(seed: int, identifier: str) -> bytes:
    return blake2b(f"{seed}:{identifier}".encode(), digest_size=8).digest()
