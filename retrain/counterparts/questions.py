"""Which questions of a snapshot are asked again. Pure.

Questions are ranked by a seeded hash of their ids, so that those that are asked are a random sample
that does not depend on the order of the rows, and stays one when time runs out.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal, TypeVar

from retrain.config import RetrainConfig
from retrain.trainer.examples.rows import LabelRow, PairRow

_Row = TypeVar("_Row", LabelRow, PairRow)
QuestionKind = Literal["counterpart", "self_play"]

_ROUNDING = 1e-9
GREEDY_BELOW = 1e-5
"""A lower temperature gives the same answer each time (`vllm.sampling_params._SAMPLING_EPS`)."""


@dataclass(frozen=True, slots=True)
class QuestionToAsk:
    """A recorded request that the live version answers `samples` times.

    `interaction_id` and `choice` are the answer that was rated, or in whose place another one was
    preferred.
    """

    id: str
    kind: QuestionKind
    interaction_id: str
    choice: int
    request: Mapping[str, Any]
    samples: int


@dataclass(frozen=True, slots=True)
class DrawnLabels:
    """Labels whose questions are asked, in this order, and the number of others by reason."""

    labels: Sequence[LabelRow]
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class MostAsked:
    """The most questions that a run would ask again, and the new answers to them."""

    questions: int
    answers: int


def draw_labels(labels: Iterable[LabelRow], limit: int, seed: int) -> DrawnLabels:
    """Draw at most `limit` labels; memory holds no others.

    A liked answer that was cut off cannot be the chosen one of a pair, so it is left out.
    """
    left_out: Counter[str] = Counter()

    def askable() -> Iterator[LabelRow]:
        for label in labels:
            cut_off = label.label and label.truncated
            left_out["truncated" if cut_off else "over_budget"] += 1
            if not cut_off:
                yield label

    drawn = _lowest(limit, askable(), seed)
    left_out["over_budget"] -= len(drawn)
    return DrawnLabels(drawn, +left_out)


def draw_pairs(pairs: Iterable[PairRow], share: float, limit: int, seed: int) -> list[PairRow]:
    """Draw the pairs whose questions are asked again for self-play; memory holds no others.

    Args:
        pairs: All pairs of the snapshot. Those with a recorded request are drawn from.
        share: Largest share of self-play among all pairs, its own included; below 1.
        limit: Most pairs to draw.
        seed: Decides which ones.

    """
    total = 0

    def askable() -> Iterator[PairRow]:
        nonlocal total
        for pair in pairs:
            total += 1
            if pair.interaction_id is not None:
                yield pair

    drawn = _lowest(limit, askable(), seed)
    return drawn[: self_play_pairs(total, share)]


def self_play_pairs(others: int, share: float) -> int:
    """Return how many pairs of self-play make up a share below 1 of all, beside so many others."""
    return int(share / (1 - share) * others + _ROUNDING)


def most_questions(labels: int, pairs: int, config: RetrainConfig, *, judged: bool) -> MostAsked:
    """Return what a run with so many labels and pairs would ask at most.

    `judged` is whether counterparts are looked for; self-play needs no judge.
    """
    settings = config.counterparts
    again = min(labels, settings.questions) if judged else 0
    played = min(self_play_pairs(pairs, config.self_play.share), settings.questions)
    return MostAsked(again + played, again * settings.samples + played)


def request_samples(request: Mapping[str, Any], samples: int) -> int:
    """Return how often a request is answered: once if the answers would be the same."""
    temperature = request.get("temperature")
    greedy = isinstance(temperature, int | float) and temperature < GREEDY_BELOW
    return 1 if greedy else samples


def is_chat(request: Mapping[str, Any] | None) -> bool:
    """Return whether a recorded request is still stored and can be asked as a chat."""
    return request is not None and bool(request.get("messages"))


def _lowest(limit: int, rows: Iterable[_Row], seed: int) -> list[_Row]:
    """Return the rows with the lowest hashes, in their order; all rows are read in any case."""
    found = heapq.nsmallest(max(1, limit), rows, key=lambda row: _rank(seed, row.id))
    return found[:limit]


def _rank(seed: int, identifier: str) -> bytes:
    return blake2b(f"{seed}:{identifier}".encode(), digest_size=8).digest()
