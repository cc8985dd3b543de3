"""The simulated comparisons of `python -m bench.online_gate`, and its claims in short."""

from dataclasses import replace

import numpy as np
import pytest

from bench.support.tie_rules import RULES, both_bad_as_votes
from bench.workloads.canaries import World, make_canary
from bench.workloads.comparisons import Comparers, first_comparisons, make_comparisons
from retrain.config import OnlineGateConfig
from retrain.gates.online import decision

pytestmark = pytest.mark.pure


def shares(comparers: Comparers) -> tuple[float, float, float]:
    """The shares of first comparisons that the canary won, that live won, and of neither."""
    outcomes, _ = make_comparisons(comparers, 200_000, np.random.default_rng(0))
    first = outcomes[:, 0]
    return tuple(float((first == one).mean()) for one in (1, -1, 0))  # type: ignore[return-value]


def test_a_third_are_ties_and_a_tenth_both_bad() -> None:
    won, lost, neither = shares(Comparers.alike(0.5))
    assert (won, lost, neither) == pytest.approx((0.3, 0.3, 0.4), abs=0.01)
    seen = np.zeros(100_000)
    compared = first_comparisons(Comparers.alike(0.5), seen, np.random.default_rng(0))
    assert sum(one.both_bad for one in compared) / len(compared) == pytest.approx(0.1, abs=0.01)
    assert len(compared) / seen.size == pytest.approx(0.2, abs=0.01)
    assert not any(one.both_bad and one.canary_won is not None for one in compared)


def test_ties_that_depend_on_taste_leave_equal_versions_equal() -> None:
    won, lost, _ = shares(Comparers.skewed())
    assert won == pytest.approx(lost, abs=0.006)


def test_only_the_gates_rule_counts_such_versions_as_equal() -> None:
    drawn = make_comparisons(Comparers.skewed(), 100_000, np.random.default_rng(0))
    won = {}
    for name, rule in RULES.items():
        decided = [one for one in rule(*drawn) if one is not None]
        won[name] = sum(decided) / len(decided)
    gate, until_decided, _ = won.values()
    assert gate == pytest.approx(0.5, abs=0.01)
    assert until_decided > 0.52


def test_comparisons_change_no_vote_of_a_simulated_canary() -> None:
    world = World(users=300)
    plain = make_canary(world, np.random.default_rng(1))
    with_comparisons = replace(world, comparers=Comparers.alike(0.5))
    compared = make_canary(with_comparisons, np.random.default_rng(1))
    assert (compared.first, compared.day) == (plain.first, plain.day)
    assert compared.compared


def test_equal_versions_are_seldom_promoted_where_two_fifths_are_undecided() -> None:
    world = World(users=1_500, comparers=Comparers(Comparers.skewed().groups, share=1.0))
    config = OnlineGateConfig()
    found = [
        decision(make_canary(world, np.random.default_rng(seed)), config)[0] for seed in range(40)
    ]
    assert sum(one is not None and one.promotes for one in found) <= 3


def test_both_bad_as_two_votes_would_speak_against_a_small_arm() -> None:
    assert both_bad_as_votes(0.05, runs=3, seed=0) == 1
    assert both_bad_as_votes(0.5, runs=3, seed=0) == 0
