"""What the online gate decides, and when."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.workloads.canaries import World, make_canary
from bench.workloads.comparisons import Comparers
from retrain.config import OnlineGateConfig
from retrain.gates.e_process import Unit
from retrain.gates.evidence import (
    CanaryEvidence,
    Compared,
    Happened,
    Timed,
    stream_curves,
)
from retrain.gates.online import decision, interval, judge_canary, judge_watch

pytestmark = pytest.mark.pure

CONFIG = OnlineGateConfig()


def votes(
    canary: float, live: float, *, users: int = 2_000, seed: int = 0, start: float = 0
) -> list[Timed]:
    """One vote each of so many users, a second apart, at these rates."""
    rng = np.random.default_rng(seed)
    arms = (rng.random(users) < 0.5).tolist()
    return [
        Timed(start + at, Unit(arm, float(rng.random() < (canary if arm else live)), 0.5))
        for at, arm in enumerate(arms)
    ]


def happened(canary: float, live: float, users: int = 2_000) -> list[Happened]:
    rng = np.random.default_rng(1)
    arms = (rng.random(users) < 0.5).tolist()
    return [
        Happened(float(at), arm, 0.5)
        for at, arm in enumerate(arms)
        if rng.random() < (canary if arm else live)
    ]


EQUAL = CanaryEvidence(first=votes(0.5, 0.5))
BETTER = CanaryEvidence(first=votes(0.7, 0.5))
WORSE = CanaryEvidence(first=votes(0.5, 0.7))


def test_what_users_like_better_is_promoted() -> None:
    verdict = judge_canary(BETTER, CONFIG)
    assert (verdict.outcome, verdict.frozen) == ("promote", False)
    assert verdict.streams["first"].better >= 100
    assert verdict.at is not None
    assert verdict.canary_users + verdict.live_users == 2_000


def test_what_users_like_less_is_rolled_back() -> None:
    verdict = judge_canary(WORSE, CONFIG)
    assert verdict.outcome == "roll_back"
    assert "worse" in verdict.reason


def test_equal_versions_go_on() -> None:
    assert judge_canary(EQUAL, CONFIG).outcome == "continue"


def test_equal_versions_are_rolled_back_when_the_time_is_up() -> None:
    verdict = judge_canary(replace(EQUAL, age_days=14), CONFIG)
    assert (verdict.outcome, verdict.at) == ("roll_back", 14 * 86_400)
    assert "14 days" in verdict.reason


def test_nothing_is_decided_about_quality_with_few_rated_users() -> None:
    few = CanaryEvidence(first=votes(1.0, 0.0, users=199))
    assert judge_canary(few, CONFIG).outcome == "continue"
    assert judge_canary(CanaryEvidence(first=votes(1.0, 0.0, users=200)), CONFIG).at == 199


def test_either_stream_may_decide() -> None:
    by_day = CanaryEvidence(first=votes(0.5, 0.5), day=votes(0.7, 0.5, start=10))
    verdict = judge_canary(by_day, CONFIG)
    assert (verdict.outcome, "day" in verdict.reason) == ("promote", True)


def test_a_guardrail_ends_it_at_once_whatever_the_votes_say() -> None:
    evidence = CanaryEvidence(first=votes(0.9, 0.5, users=150), events={"error": happened(0.2, 0)})
    verdict = judge_canary(evidence, CONFIG)
    assert (verdict.outcome, "error" in verdict.reason) == ("roll_back", True)


def test_of_two_crossings_the_earlier_one_decides() -> None:
    promoted = judge_canary(BETTER, CONFIG)
    assert promoted.at is not None
    late = [event._replace(at=event.at + promoted.at) for event in happened(0.5, 0)]
    assert judge_canary(replace(BETTER, events={"error": late}), CONFIG).outcome == "promote"
    early = [event._replace(at=event.at / 1e6) for event in happened(0.5, 0)]
    assert judge_canary(replace(BETTER, events={"error": early}), CONFIG).outcome == "roll_back"


def test_voting_that_differs_by_arm_freezes_promotion_but_not_rollback() -> None:
    def mostly_canary(seen: Sequence[Timed]) -> list[Timed]:
        kept = [one for one in seen if one.unit.canary or one.at % 3 == 0]
        return [Timed(float(at), one.unit) for at, one in enumerate(kept)]

    better = judge_canary(CanaryEvidence(first=mostly_canary(BETTER.first)), CONFIG)
    assert (better.outcome, better.frozen) == ("continue", True)
    worse = judge_canary(CanaryEvidence(first=mostly_canary(WORSE.first)), CONFIG)
    assert worse.outcome == "roll_back"


def test_equal_versions_pass_where_non_inferiority_was_chosen_beforehand() -> None:
    same = votes(0.5, 0.5, users=20_000, seed=3)
    many = CanaryEvidence(day=same, first=same)
    assert judge_canary(many, CONFIG).outcome == "continue"
    chosen = OnlineGateConfig(margin=0.05)
    assert judge_canary(many, chosen).outcome == "promote"
    worse = CanaryEvidence(day=votes(0.4, 0.5), first=votes(0.4, 0.5))
    assert judge_canary(worse, chosen).outcome == "roll_back"


def test_blind_comparisons_speak_for_the_canary() -> None:
    slight = CanaryEvidence(first=votes(0.53, 0.5))
    assert judge_canary(slight, CONFIG).outcome == "continue"
    compared = [Compared(float(at), at % 4 != 0) for at in range(400)]
    assert judge_canary(replace(slight, compared=compared), CONFIG).outcome == "promote"


def test_comparisons_are_shown_by_what_the_user_said() -> None:
    compared = [
        Compared(1, canary_won=True),
        Compared(2, canary_won=None),
        Compared(3, canary_won=False),
        Compared(4, canary_won=None, both_bad=True),
        Compared(5, canary_won=True),
    ]
    shown = judge_canary(replace(EQUAL, compared=compared), CONFIG).comparisons
    assert (shown.won, shown.lost, shown.tied, shown.both_bad) == (2, 1, 1, 1)


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(-3, 60))
def test_comparisons_won_by_a_coin_add_no_evidence_on_average(
    before: list[bool], first: int
) -> None:
    """Whenever the first one is decided: the evidence of votes is divided, not lifted."""
    past = [Compared(first + at + 0.5, won) for at, won in enumerate(before)]
    evidence = CanaryEvidence(first=votes(0.5, 0.5, users=50))
    next_at = past[-1].at + 0.25

    def after(*more: Compared) -> float:
        seen = replace(evidence, compared=[*past, *more])
        return float(stream_curves(seen, "first").better.at(np.array([next_at]))[0])

    won, lost, tie = (after(Compared(next_at, outcome)) for outcome in (True, False, None))
    assert ((won + lost) / 2, tie) == pytest.approx((after(), after()))


def test_the_first_comparison_does_not_lift_the_evidence_of_votes() -> None:
    worse = CanaryEvidence(first=votes(0.3, 0.7, users=300))
    low = stream_curves(worse, "first").better.last
    seen = [replace(worse, compared=[Compared(301, won)]) for won in (True, False)]
    then = [stream_curves(one, "first").better.last for one in seen]
    assert low < 0.1
    assert sum(then) / 2 == pytest.approx(low)


said = st.lists(st.sampled_from([True, False, None]), max_size=400)


@settings(max_examples=25)
@given(said, st.sampled_from([0.5, 0.53, 0.56]))
def test_ties_change_no_decision(outcomes: list[bool | None], canary: float) -> None:
    """Each tie is a comparison that was never made, wherever it stands among the others."""
    evidence = CanaryEvidence(first=votes(canary, 0.5))
    compared = [Compared(at * 5.0, won) for at, won in enumerate(outcomes)]
    decisive = [one for one in compared if one.canary_won is not None]
    with_ties = decision(replace(evidence, compared=compared), CONFIG)
    without = decision(replace(evidence, compared=decisive), CONFIG)
    assert with_ties == without


def test_slow_answers_are_a_guardrail() -> None:
    slower = [Timed(one.at, one.unit) for one in votes(0.8, 0.5)]
    verdict = judge_canary(replace(EQUAL, ranks={"first token": slower}), CONFIG)
    assert (verdict.outcome, "first token" in verdict.reason) == ("roll_back", True)


def test_a_watch_rolls_back_and_never_promotes() -> None:
    assert judge_watch(BETTER, CONFIG).outcome == "continue"
    assert judge_watch(WORSE, CONFIG).outcome == "roll_back"


def test_the_interval_holds_the_truth_and_leaves_zero_out_when_it_may() -> None:
    low, high = interval(CanaryEvidence(day=votes(0.7, 0.5)))
    assert 0 < low < 0.2 < high


def test_fewer_users_are_needed_as_evidence_grows() -> None:
    needed = [
        judge_canary(CanaryEvidence(first=BETTER.first[:n], day=BETTER.first[:n]), CONFIG).needed
        for n in (50, 150)
    ]
    assert needed[0] > needed[1]


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(200, 1_500), st.sampled_from([0.0, 0.01, 0.5]))
def test_a_decision_once_made_stays(seed: int, seen: int, comparing: float) -> None:
    """Whoever looks later, at more of the same history, finds the same decision."""
    comparers = Comparers(Comparers.alike(0.6).groups, share=comparing)
    world = World(canary=0.6, users=1_500, comparers=comparers)
    everything = make_canary(world, np.random.default_rng(seed))
    until = everything.first[min(seen, len(everything.first)) - 1].at
    then = replace(
        everything,
        first=[one for one in everything.first if one.at <= until],
        day=[one for one in everything.day if one.at <= until],
        compared=[one for one in everything.compared if one.at <= until],
        age_days=0,
    )
    before = judge_canary(then, CONFIG)
    if before.outcome != "continue":
        after = judge_canary(everything, CONFIG)
        assert (after.outcome, after.at) == (before.outcome, before.at)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_equal_versions_are_seldom_promoted(share: float) -> None:
    """A short version of `bench/online_gate.py`: of 60 canaries at most three."""
    world = World(users=1_500, stages=((0.0, share),))
    outcomes = [
        judge_canary(make_canary(world, np.random.default_rng(seed)), CONFIG).outcome
        for seed in range(60)
    ]
    assert outcomes.count("promote") <= 3
