"""What a preference or a ranking says: which answers are better than which. Pure.

`feedback/metrics/compared.py` makes the values that are read here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

OUTCOMES = ("over", "tie", "both_bad")
"""What a preference may say; exactly one of them holds the other answer's id."""

Answer = tuple[str, int]
"""An answer: interaction id and choice."""


@dataclass(frozen=True, slots=True)
class Ordering:
    """Answers in groups, the best group first; the answers of a group are equally good.

    `both_bad` is whether the rater called both answers of the only group bad.
    """

    groups: tuple[tuple[Answer, ...], ...]
    both_bad: bool = False

    @property
    def answers(self) -> list[Answer]:
        """All answers, best first."""
        return [answer for group in self.groups for answer in group]

    def pairs(self) -> Iterator[tuple[Answer, Answer]]:
        """Yield each pair of a better and a worse answer; equally good answers make none."""
        for better, worse in combinations(self.groups, 2):
            yield from product(better, worse)


def ordering_of(metric_name: str, value: Any, judged: Answer) -> Ordering | None:
    """Return the order that a judgement of `judged` puts answers in; None for other metrics.

    `value` is in the normal form of `validation.check`; null (a retraction) gives None.
    """
    if value is None:
        return None
    if metric_name == "preference":
        return _preference(value, judged)
    if metric_name == "ranking":
        return Ordering(tuple(_group(place) for place in value))
    return None


def _preference(value: Any, judged: Answer) -> Ordering:
    choice = value["choice"]
    if "over" in value:
        return Ordering(((judged,), ((value["over"], choice),)))
    if "tie" in value:
        return Ordering(((judged, (value["tie"], choice)),))
    return Ordering(((judged, (value["both_bad"], choice)),), both_bad=True)


def _group(place: Any) -> tuple[Answer, ...]:
    entries = place if isinstance(place, list) else [place]
    return tuple((entry["id"], entry["choice"]) for entry in entries)
