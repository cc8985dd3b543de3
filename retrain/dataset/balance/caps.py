"""How many rows of each group are kept so that none is above its share. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from retrain.config.balance import BalanceConfig


@dataclass(frozen=True, slots=True)
class RowKind:
    """A row's pseudo-random priority (the lowest are kept), and the groups that it belongs to."""

    priority: int
    topic: int
    language: str
    length: str


def cap(sizes: Iterable[int], share: float) -> int:
    """Return the most rows of a group such that no group is above its share of what is kept.

    Where fewer groups than 1 / `share` exist, no cap could reach the share: then the groups may be
    equally large, and a single one is not limited.
    """
    ordered = sorted(sizes, reverse=True)
    if not ordered:
        return 0
    attainable = max(share, 1 / len(ordered))
    rest = sum(ordered)
    if ordered[0] <= attainable * rest:
        return ordered[0]
    for capped, size in enumerate(ordered, start=1):
        rest -= size
        free = 1 - attainable * capped
        following = ordered[capped] if capped < len(ordered) else 0
        if free <= 0:
            break
        limit = int(attainable * rest / free)
        if limit >= following:
            return limit
    return ordered[-1]


def kept_rows(rows: Sequence[RowKind], config: BalanceConfig) -> set[int]:
    """Return the positions of the rows that are kept.

    Removing rows for one attribute raises the shares of the others, so all are looked at again
    until none is above its share.
    """
    kept = set(range(len(rows)))
    while True:
        before = len(kept)
        kept = _capped(rows, kept, [row.topic for row in rows], config.topic_share, config)
        kept = _capped(rows, kept, [row.language for row in rows], config.language_share, config)
        kept = _capped(rows, kept, [row.length for row in rows], config.length_share, config)
        if len(kept) == before:
            return kept


def _capped(
    rows: Sequence[RowKind],
    kept: set[int],
    groups: Sequence[int | str],
    share: float,
    config: BalanceConfig,
) -> set[int]:
    """Return the rows without those of too large groups with the highest priorities."""
    limit = max(config.always_kept, cap(Counter(groups[at] for at in kept).values(), share))
    taken: Counter[int | str] = Counter()
    found = set()
    for at in sorted(kept, key=lambda at: (rows[at].priority, at)):
        taken[groups[at]] += 1
        if taken[groups[at]] <= limit:
            found.add(at)
    return found
