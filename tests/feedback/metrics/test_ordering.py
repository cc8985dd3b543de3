"""What a stored preference or ranking says."""

from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.metrics.ordering import Answer, Ordering, ordering_of
from feedback.reading.judgements import mentioned

pytestmark = pytest.mark.pure

A, B, C = ("a", 0), ("b", 1), ("c", 0)

orderings = st.permutations([(name, 0) for name in "abcdef"]).flatmap(
    lambda answers: st.sets(st.integers(1, 5)).map(lambda cuts: cut(answers, sorted(cuts)))
)


def cut(answers: list[Answer], cuts: list[int]) -> Ordering:
    ends = [0, *cuts, len(answers)]
    return Ordering(tuple(tuple(answers[i:j]) for i, j in pairwise(ends)))


def ordered(metric: str, value: Any) -> Ordering:
    found = ordering_of(metric, value, A)
    assert found is not None
    return found


def test_a_preference_puts_the_judged_answer_first() -> None:
    assert list(ordered("preference", {"over": "b", "choice": 1}).pairs()) == [(A, B)]


@pytest.mark.parametrize("outcome", ["tie", "both_bad"])
def test_equally_good_answers_make_no_pair(outcome: str) -> None:
    ordering = ordered("preference", {outcome: "b", "choice": 1})
    assert (list(ordering.pairs()), ordering.groups) == ([], ((A, B),))
    assert ordering.both_bad is (outcome == "both_bad")


def test_a_ranking_stored_without_groups_is_read() -> None:
    stored = [{"id": "b", "choice": 1}, {"id": "a", "choice": 0}, {"id": "c", "choice": 0}]
    assert list(ordered("ranking", stored).pairs()) == [(B, A), (B, C), (A, C)]


def test_a_group_is_better_than_what_follows_and_not_than_itself() -> None:
    stored = [[{"id": "a", "choice": 0}, {"id": "b", "choice": 1}], {"id": "c", "choice": 0}]
    assert list(ordered("ranking", stored).pairs()) == [(A, C), (B, C)]


@given(orderings)
def test_two_answers_make_a_pair_unless_they_share_a_group(ordering: Ordering) -> None:
    pairs = list(ordering.pairs())
    rank = {answer: place for place, group in enumerate(ordering.groups) for answer in group}
    assert all(rank[better] < rank[worse] for better, worse in pairs)
    apart = [two for two in combinations(rank, 2) if rank[two[0]] != rank[two[1]]]
    assert {frozenset(pair) for pair in pairs} == {frozenset(two) for two in apart}
    assert len(pairs) == len(apart)


@pytest.mark.parametrize("metric", ["thumbs", "rating", "comment", "solved"])
def test_other_metrics_order_nothing(metric: str) -> None:
    assert ordering_of(metric, True, A) is None


@pytest.mark.parametrize("metric", ["preference", "ranking"])
def test_a_retraction_orders_nothing(metric: str) -> None:
    assert ordering_of(metric, None, A) is None


@pytest.mark.parametrize("outcome", ["over", "tie", "both_bad"])
def test_a_preference_mentions_the_other_answer(outcome: str) -> None:
    assert mentioned("preference", {outcome: "b", "choice": 1}) == [B]


def test_a_ranking_mentions_all_its_answers_best_first() -> None:
    stored = [{"id": "c", "choice": 0}, [{"id": "a", "choice": 0}, {"id": "b", "choice": 1}]]
    assert mentioned("ranking", stored) == [C, A, B]
