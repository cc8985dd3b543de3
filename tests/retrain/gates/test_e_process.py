"""E-processes: what makes them safe to look at after every user."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.gates.e_process import (
    PREFERENCES,
    Direction,
    Path,
    Unit,
    VoteStream,
    arm_path,
    preference_path,
    rare_event_path,
)

pytestmark = pytest.mark.pure

shares = st.floats(0.01, 0.99)
rates = st.floats(0.05, 0.95)
units = st.builds(Unit, st.booleans(), st.floats(0, 1), shares)
directions: st.SearchStrategy[Direction] = st.sampled_from(("better", "worse"))
margins = st.floats(-0.3, 0.3)


@given(st.lists(units, max_size=30), st.floats(0, 1), shares, rates, directions)
def test_a_coin_that_picks_the_arm_adds_no_evidence_on_average(
    before: list[Unit], vote: float, share: float, rate: float, direction: Direction
) -> None:
    def after(canary: bool) -> float:
        votes = VoteStream.of([*before, Unit(canary, vote, share)], rate)
        return float(votes.path(direction)[-1])

    now = float(VoteStream.of(before, rate).path(direction)[-1]) if before else 1.0
    expected = share * after(canary=True) + (1 - share) * after(canary=False)
    assert expected == pytest.approx(now, rel=1e-9)


@given(st.lists(units, min_size=1, max_size=30), rates, directions, margins)
def test_evidence_is_never_negative_and_never_missing(
    seen: list[Unit], rate: float, direction: Direction, margin: float
) -> None:
    path = VoteStream.of(seen, rate).path(direction, margin)
    assert path.shape == (len(seen),)
    assert (path > 0).all()
    assert np.isfinite(path).all()


@given(st.lists(units, min_size=1, max_size=30), rates)
def test_being_worse_is_being_better_with_the_votes_turned_round(
    seen: list[Unit], rate: float
) -> None:
    turned = [Unit(unit.canary, 1 - unit.vote, unit.share) for unit in seen]
    worse = VoteStream.of(seen, rate).path("worse")
    better = VoteStream.of(turned, 1 - rate).path("better")
    assert worse == pytest.approx(better, rel=1e-6)


@given(st.lists(units, min_size=1, max_size=20), st.lists(units, max_size=5), rates)
def test_what_comes_later_does_not_change_what_was_shown(
    seen: list[Unit], later: list[Unit], rate: float
) -> None:
    path = VoteStream.of(seen, rate).path("better")
    assert VoteStream.of([*seen, *later], rate).path("better")[: len(seen)] == pytest.approx(path)


@given(st.lists(st.tuples(st.booleans(), shares), max_size=30), shares)
@pytest.mark.parametrize("path_of", [rare_event_path, arm_path])
def test_events_that_ignore_the_arm_add_no_evidence_on_average(
    path_of: Callable[[Sequence[tuple[bool, float]]], Path],
    before: list[tuple[bool, float]],
    share: float,
) -> None:
    paths = [path_of([*before, (canary, share)]) for canary in (True, False)]
    now = float(path_of(before)[-1]) if before else 1.0
    expected = share * float(paths[0][-1]) + (1 - share) * float(paths[1][-1])
    assert expected == pytest.approx(now, rel=1e-9)


comparisons = st.lists(st.none() | st.booleans(), max_size=30)


@given(comparisons, st.floats(0, 1))
def test_comparisons_won_as_often_as_lost_add_no_evidence_on_average(
    before: list[bool | None], tied: float
) -> None:
    now = float(preference_path(before)[-1]) if before else 1.0
    won, lost, tie = (float(preference_path([*before, one])[-1]) for one in (True, False, None))
    expected = tied * tie + (1 - tied) * (won + lost) / 2
    assert expected == pytest.approx(now, rel=1e-9)


@given(comparisons)
def test_a_tie_is_worth_nothing_and_half_a_win(before: list[bool | None]) -> None:
    decisive = [one for one in before if one is not None]
    now = float(preference_path(before)[-1]) if before else 1.0
    assert now == pytest.approx(float(preference_path(decisive)[-1]) if decisive else 1.0)
    linear = [0.5 if one is None else float(one) for one in before]
    bets = [np.prod([1 + (2 * w - 1) * (2 * s - 1) for s in linear]) for w in PREFERENCES]
    assert now == pytest.approx(float(np.mean(bets)))


def test_a_clear_difference_is_shown_and_its_opposite_is_not() -> None:
    seen = [Unit(bool(n % 2), float(n % 2), 0.5) for n in range(400)]
    votes = VoteStream.of(seen, 0.5)
    assert votes.path("better")[-1] > 1e6
    assert votes.path("worse")[-1] < 0.01


def test_a_difference_within_the_margin_is_told_from_one_beyond_it() -> None:
    rng = np.random.default_rng(1)
    seen = [
        Unit(canary, float(rng.random() < 0.5), 0.5)
        for canary in (rng.random(20_000) < 0.5).tolist()
    ]
    votes = VoteStream.of(seen, 0.5)
    assert votes.path("better", margin=-0.05)[-1] > 1e3
    assert votes.path("better")[-1] < 50


def test_evidence_beyond_all_numbers_is_no_error() -> None:
    seen = [Unit(bool(n % 2), float(n % 2), 0.5) for n in range(40_000)]
    assert VoteStream.of(seen, 0.5).path("better")[-1] == np.inf
