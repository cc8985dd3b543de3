"""Choose the rows of a sample that are kept: no near-duplicates, nothing above its share."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from retrain.config.balance import BalanceConfig
from retrain.dataset.balance.caps import RowKind, kept_rows
from retrain.dataset.balance.languages import language_of
from retrain.dataset.balance.mix import Mix, MixChange
from retrain.dataset.balance.near_duplicates import NearDuplicates
from retrain.dataset.balance.texts import RowTexts
from retrain.dataset.balance.topics import SAMPLE, Topics
from retrain.dataset.filters import Filter

PrioritisedTexts = tuple[int, RowTexts]
"""A row's pseudo-random priority and its texts."""


@dataclass(frozen=True, slots=True)
class Balanced:
    """The positions of the rows that are kept, what was left out, and the mix before and after."""

    kept: set[int]
    left_out: Counter[str]
    mix: MixChange


def balance(read: Callable[[], Iterable[PrioritisedTexts]], config: BalanceConfig) -> Balanced:
    """Choose the rows that are kept; the same for the same rows and priorities.

    Args:
        read: Reads all rows, in the same order each time; it is called several times, so that the
            texts need not be in memory together.
        config: The limits.

    """
    rows = _kinds(read, config)
    few = len(rows) <= config.always_kept
    different = list(_different(read, 0 if few else config.near_duplicate))
    chosen = kept_rows([rows[at] for at in different], config)
    kept = {different[place] for place in chosen}
    left_out = Counter(
        {
            Filter.NEAR_DUPLICATE.value: len(rows) - len(different),
            Filter.OVER_SHARE.value: len(different) - len(kept),
        }
    )
    mix = MixChange(before=Mix.of(rows), after=Mix.of(rows[at] for at in sorted(kept)))
    return Balanced(kept, +left_out, mix)


def _kinds(read: Callable[[], Iterable[PrioritisedTexts]], config: BalanceConfig) -> list[RowKind]:
    sample = [texts.topic for _, texts in islice(read(), SAMPLE)]
    if not sample:
        return []
    topics = Topics(sample, config.topic_similarity)
    numbers = topics.of(texts.topic for _, texts in read())
    return [
        RowKind(priority, topic, language_of(texts.spoken), texts.length)
        for (priority, texts), topic in zip(read(), numbers, strict=True)
    ]


def _different(read: Callable[[], Iterable[PrioritisedTexts]], threshold: float) -> Iterator[int]:
    """Yield the positions of the rows that are nearly the same as no earlier one."""
    seen = NearDuplicates(threshold) if threshold else None
    for at, (_, texts) in enumerate(read()):
        if seen is None or not seen.is_one(texts):
            yield at
