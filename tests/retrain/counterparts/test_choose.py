"""The rule by which a new answer becomes the other side of a rated one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.counterparts.choose import Chosen, ComparedAnswer, choose

pytestmark = pytest.mark.pure

PREFERENCES = st.integers(0, 64).map(lambda parts: parts / 64)
"""Binary fractions, with which all arithmetic is exact."""
ANSWERS = st.lists(
    st.builds(ComparedAnswer, st.none() | PREFERENCES, truncated=st.booleans()),
    min_size=1,
    max_size=6,
)
MARGINS = st.floats(0, 0.99)


def test_below_a_thumb_down_the_best_answer_that_beats_it_is_chosen() -> None:
    answers = [ComparedAnswer(one) for one in (0.625, 0.875, 0.25, 0.875)]
    assert choose(answers, liked=False, margin=0.15) == Chosen(1, 0.75)


def test_under_a_thumb_up_the_worst_answer_that_loses_to_it_is_rejected() -> None:
    answers = [ComparedAnswer(one) for one in (0.375, 0.875, 0.125)]
    assert choose(answers, liked=True, margin=0.15) == Chosen(2, 0.75)


@pytest.mark.parametrize("liked", [True, False])
def test_a_tie_has_no_winner_even_without_a_margin(liked: bool) -> None:
    assert choose([ComparedAnswer(0.5)], liked=liked, margin=0) == "no_winner"


def test_a_difference_under_the_margin_has_no_winner() -> None:
    assert choose([ComparedAnswer(0.55)], liked=False, margin=0.15) == "no_winner"
    assert choose([ComparedAnswer(0.45)], liked=True, margin=0.15) == "no_winner"


def test_a_cut_off_answer_is_never_chosen() -> None:
    cut, whole = ComparedAnswer(1.0, truncated=True), ComparedAnswer(0.75)
    assert choose([cut], liked=False, margin=0.15) == "truncated"
    assert choose([cut, whole], liked=False, margin=0.15) == Chosen(1, 0.5)


def test_a_cut_off_answer_may_be_rejected() -> None:
    assert choose([ComparedAnswer(0.0, truncated=True)], liked=True, margin=0.15) == Chosen(0, 1.0)


def test_answers_without_any_verdict_are_unjudged() -> None:
    assert choose([ComparedAnswer(None), ComparedAnswer(None)], liked=True, margin=0) == "unjudged"


def test_an_answer_without_a_verdict_does_not_stand_in_the_way() -> None:
    assert choose([ComparedAnswer(None), ComparedAnswer(1.0)], liked=False, margin=0) == Chosen(
        1, 1.0
    )


@given(ANSWERS, st.booleans(), MARGINS)
def test_what_is_chosen_differs_clearly_in_the_right_direction(
    answers: list[ComparedAnswer], liked: bool, margin: float
) -> None:
    found = choose(answers, liked=liked, margin=margin)
    if not isinstance(found, Chosen):
        return
    preference = answers[found.index].preference
    assert preference is not None
    assert (preference < 0.5) if liked else (preference > 0.5)
    assert margin <= found.margin <= 1
    assert liked or not answers[found.index].truncated


@given(ANSWERS, st.booleans(), MARGINS)
def test_no_usable_answer_is_further_away_than_the_one_that_is_chosen(
    answers: list[ComparedAnswer], liked: bool, margin: float
) -> None:
    found = choose(answers, liked=liked, margin=margin)
    usable = [
        one.preference
        for one in answers
        if one.preference is not None and (liked or not one.truncated)
    ]
    if isinstance(found, Chosen):
        assert answers[found.index].preference == (min(usable) if liked else max(usable))


@given(st.lists(PREFERENCES, min_size=1), MARGINS)
def test_the_two_directions_mirror_each_other(preferences: list[float], margin: float) -> None:
    better = choose([ComparedAnswer(one) for one in preferences], liked=False, margin=margin)
    worse = choose([ComparedAnswer(1 - one) for one in preferences], liked=True, margin=margin)
    assert better == worse


@given(ANSWERS, st.booleans(), MARGINS, MARGINS)
def test_a_wider_margin_never_makes_a_pair_more(
    answers: list[ComparedAnswer], liked: bool, one: float, other: float
) -> None:
    narrow, wide = sorted((one, other))
    if isinstance(choose(answers, liked=liked, margin=wide), Chosen):
        assert isinstance(choose(answers, liked=liked, margin=narrow), Chosen)
