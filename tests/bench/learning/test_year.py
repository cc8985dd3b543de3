"""Simulated years of equal candidates."""

from collections.abc import Iterator

import numpy as np
import pytest

from bench.learning.equal_canaries import EqualCanary
from bench.learning.year import BUDGET, one_year

pytestmark = pytest.mark.pure


def canaries(days: float, evidence: float) -> Iterator[EqualCanary]:
    while True:
        yield EqualCanary(days, [(days / 2, evidence)])


def test_canaries_follow_one_another_through_a_year() -> None:
    year = one_year(canaries(14.0, 1.0), 1.0, np.random.default_rng(0))
    assert year.canaries == 26  # 364 days, 14 days and up to four hours each
    assert year.promotions == 0


def test_the_alphas_of_a_year_stay_within_the_budget_however_short_canaries_are() -> None:
    year = one_year(canaries(0.1, 1.0), 1.0, np.random.default_rng(0))
    assert year.canaries > 1_000
    assert year.alpha <= BUDGET.false_promotions


def test_a_canary_is_promoted_only_at_its_own_threshold() -> None:
    year = one_year(canaries(14.0, 401.0), 1.0, np.random.default_rng(0))
    assert year.promotions == 1  # the first one, of a full wallet; later thresholds are higher


def test_what_the_offline_gate_stops_spends_nothing() -> None:
    year = one_year(canaries(14.0, 1.0), 1e-9, np.random.default_rng(0))
    assert (year.canaries, year.alpha) == (0, 0)
