"""How far a judge agrees with people: ties, clusters of one person's votes, lower bounds."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.gates.judge_agreement import (
    Calibration,
    judge_agreement,
    lower_bound,
    mutual_agreement,
    self_agreement,
)

pytestmark = pytest.mark.pure

calibrations = st.lists(
    st.builds(
        Calibration,
        rater=st.integers(0, 5),
        pair=st.integers(0, 5),
        person=st.sampled_from([0.0, 0.5, 1.0]),
        judge=st.floats(0, 1),
    ),
    max_size=40,
)


def said(*verdicts: tuple[float, float]) -> list[Calibration]:
    return [Calibration(n, n, person, judge) for n, (person, judge) in enumerate(verdicts)]


def test_the_bound_that_the_gate_demands_takes_161_of_200() -> None:
    def bound(right: int) -> float:
        return lower_bound([(number, float(number < right)) for number in range(200)])

    assert bound(160) < 0.75 <= bound(161)


def test_a_tie_of_the_judge_counts_as_half() -> None:
    found = judge_agreement(said((1, 0.9), (0, 0.5)))
    assert found is not None
    assert found.rate == 0.75


def test_ties_of_people_say_nothing_about_the_judge() -> None:
    found = judge_agreement(said((1, 1), (0.5, 1), (0.5, 0.5)))
    assert found is not None
    assert found.comparisons == 1


def test_nothing_compared_is_no_agreement() -> None:
    assert judge_agreement([]) is None
    assert judge_agreement(said((0.5, 1))) is None
    assert self_agreement(said((1, 1))) is None
    assert mutual_agreement(said((1, 1))) is None


def test_people_are_compared_with_themselves_and_with_each_other() -> None:
    seen = [
        Calibration("ann", "pair", 1, 1),
        Calibration("ann", "pair", 0, 1),
        Calibration("bob", "pair", 1, 1),
    ]
    alone, together = self_agreement(seen), mutual_agreement(seen)
    assert alone is not None
    assert together is not None
    assert (alone.rate, alone.comparisons) == (0, 1)
    assert (together.rate, together.comparisons) == (0.5, 2)


def test_one_person_tells_little_however_much_they_say() -> None:
    many = [("ann", 1.0)] * 500
    assert lower_bound(many) < 0.1


def test_votes_of_few_people_that_go_together_tell_less_than_those_of_many() -> None:
    alike = [(rater, float(rater < 8)) for rater in range(10) for _ in range(20)]
    apart = [(number, float(number < 160)) for number in range(200)]
    assert lower_bound(alike) < lower_bound(apart) - 0.1


@given(calibrations)
def test_the_bound_lies_below_the_rate(seen: Sequence[Calibration]) -> None:
    found = judge_agreement(seen)
    if found is not None:
        assert 0 <= found.low <= found.rate <= 1


@given(calibrations)
def test_turning_every_pair_round_changes_nothing(seen: Sequence[Calibration]) -> None:
    turned = [one._replace(person=1 - one.person, judge=1 - one.judge) for one in seen]
    before, after = judge_agreement(seen), judge_agreement(turned)
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        assert after.rate == pytest.approx(before.rate)


@pytest.mark.parametrize("spread", [0.0, 0.15])
def test_the_bound_holds_for_raters_who_differ(spread: float) -> None:
    draw = random.Random(1)
    missed = 0
    for _ in range(400):
        votes = []
        for rater in range(30):
            own = 0.75 + draw.choice((-spread, spread))
            votes += [(rater, float(draw.random() < own)) for _ in range(draw.randint(1, 12))]
        missed += lower_bound(votes) > 0.75
    assert missed / 400 <= 0.08
