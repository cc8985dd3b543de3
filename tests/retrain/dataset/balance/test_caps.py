"""How many rows of each topic, language and length are kept."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.config.balance import BalanceConfig
from retrain.dataset.balance.caps import RowKind, cap, kept_rows

pytestmark = pytest.mark.pure

SIZES = st.lists(st.integers(1, 200), min_size=1, max_size=12)
SHARES = st.floats(0.05, 1)


def rows(sizes: list[int]) -> list[RowKind]:
    """Rows of so many topics, in a fixed pseudo-random order."""
    topics = [topic for topic, size in enumerate(sizes) for _ in range(size)]
    return [RowKind(at * 7919 % 10_007, topic, "en", "x") for at, topic in enumerate(topics)]


@pytest.mark.parametrize(
    ("sizes", "share", "expected"),
    [
        ([10], 0.25, 10),
        ([90, 10], 0.5, 10),
        ([80, 10, 10], 0.5, 20),
        ([30, 30, 30], 0.25, 30),
        ([100, 1, 1, 1], 0.25, 1),
        ([25, 25, 25, 25], 0.25, 25),
        ([], 0.5, 0),
    ],
)
def test_the_cap_of_some_sizes(sizes: list[int], share: float, expected: int) -> None:
    assert cap(sizes, share) == expected


@given(SIZES, SHARES)
def test_no_group_is_above_its_share_of_what_is_kept_and_one_more_would_be(
    sizes: list[int], share: float
) -> None:
    limit = cap(sizes, share)
    attainable = max(share, 1 / len(sizes))
    kept = [min(size, limit) for size in sizes]
    assert max(kept) <= attainable * sum(kept) + 1e-9
    more = [min(size, limit + 1) for size in sizes]
    assert limit == max(sizes) or max(more) > attainable * sum(more) - 1e-9


@given(SIZES, SHARES, st.integers(1, 50))
def test_of_each_topic_the_lowest_priorities_are_kept(
    sizes: list[int], share: float, floor: int
) -> None:
    all_rows = rows(sizes)
    config = BalanceConfig(topic_share=share, always_kept=floor)
    kept = kept_rows(all_rows, config)
    for topic in range(len(sizes)):
        of_topic = sorted(row.priority for row in all_rows if row.topic == topic)
        found = sorted(all_rows[at].priority for at in kept if all_rows[at].topic == topic)
        assert found == of_topic[: len(found)]
        assert len(found) >= min(floor, sizes[topic])


@given(SIZES, SHARES, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_makes_no_difference(
    sizes: list[int], share: float, shuffler: random.Random
) -> None:
    ordered = rows(sizes)
    shuffled = ordered[:]
    shuffler.shuffle(shuffled)
    config = BalanceConfig(topic_share=share, always_kept=1)
    kept = Counter(ordered[at] for at in kept_rows(ordered, config))
    assert kept == Counter(shuffled[at] for at in kept_rows(shuffled, config))


def test_languages_and_lengths_are_limited_where_the_settings_say_so() -> None:
    english = [RowKind(at, at % 9, "en", "short") for at in range(90)]
    french = [RowKind(1_000 + at, at % 9, "fr", "long") for at in range(30)]
    config = BalanceConfig(topic_share=1, always_kept=1)
    assert len(kept_rows([*english, *french], config)) == 120
    for name in ("language_share", "length_share"):
        limited = config.model_copy(update={name: 0.5})
        assert len(kept_rows([*english, *french], limited)) == 60


def test_little_data_is_kept_whole() -> None:
    assert len(kept_rows(rows([100, 3]), BalanceConfig())) == 103
