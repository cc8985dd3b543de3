"""How far a judge agrees with people, and people with themselves and with each other. Pure.

Comparisons of the same person are not independent. Lower bounds are therefore those of Clopper and
Pearson (1934) at the effective sample size of Korn and Graubard (1998, Survey Methodology 24:193),
which divides the number of comparisons by the design effect of clustering by person.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations
from math import fsum
from typing import NamedTuple

from scipy.stats import beta, t

from common.frozen_model import FrozenModel

CONFIDENCE = 0.95
"""Confidence level of the one-sided lower bounds."""
TIE_WIDTH = 1e-9
"""Tolerance for rounding: a preference this close to one half is a tie."""


class Calibration(NamedTuple):
    """One comparison that a person and the judge made.

    `person` and `judge` are preferences for the first answer: 1 first, 0 second, 0.5 tie. `pair`
    identifies the two answers, in their order; several people may have compared them.
    """

    rater: Hashable
    pair: Hashable
    person: float
    judge: float


class Agreement(FrozenModel):
    """How often two verdicts agree, a tie of one of them counting as half.

    `low` is the lower 95 % bound of `rate`, one-sided. `comparisons` counts what was compared,
    `raters` the people behind it.
    """

    rate: float
    low: float
    comparisons: int
    raters: int


def sign(preference: float) -> int:
    """Return 1 if the first answer is preferred, -1 if the second is, 0 for a tie."""
    lean = preference - 0.5
    return 0 if abs(lean) <= TIE_WIDTH else (1 if lean > 0 else -1)


def judge_agreement(seen: Iterable[Calibration]) -> Agreement | None:
    """Return how far the judge agrees with people's decisive comparisons; None without any."""
    decisive = [one for one in seen if sign(one.person)]
    return _agreement([(one.rater, _agree(sign(one.person), sign(one.judge))) for one in decisive])


def self_agreement(seen: Iterable[Calibration]) -> Agreement | None:
    """Return how far people agree with themselves where they compared the same pair again."""
    return _agreement(
        [
            (first.rater, _agree(sign(first.person), sign(second.person)))
            for first, second in _same_pair(seen)
            if first.rater == second.rater
        ]
    )


def mutual_agreement(seen: Iterable[Calibration]) -> Agreement | None:
    """Return how far different people agree on the same pair; a pair of answers is a cluster."""
    return _agreement(
        [
            (first.pair, _agree(sign(first.person), sign(second.person)))
            for first, second in _same_pair(seen)
            if first.rater != second.rater
        ]
    )


def lower_bound(values: Sequence[tuple[Hashable, float]]) -> float:
    """Return the lower 95 % bound, one-sided, of the mean of values from 0 to 1 in clusters.

    Args:
        values: Cluster and value of each observation.

    """
    size = len(values)
    mean = fsum(value for _, value in values) / size
    effective = _effective_size(values, mean)
    successes = mean * effective
    if successes <= 0:
        return 0.0
    return float(beta.ppf(1 - CONFIDENCE, successes, effective - successes + 1))


def _effective_size(values: Sequence[tuple[Hashable, float]], mean: float) -> float:
    """Return the number of independent observations that are worth as much as these."""
    residuals: dict[Hashable, list[float]] = defaultdict(list)
    for cluster, value in values:
        residuals[cluster].append(value - mean)
    size, clusters = len(values), len(residuals)
    if clusters == 1:
        return 1.0
    within = fsum(fsum(rest) ** 2 for rest in residuals.values())
    variance = within * clusters / (clusters - 1) / size**2
    simple = mean * (1 - mean) / size
    effect = max(1.0, variance / simple) if simple > 0 else 1.0
    ends = 1 - (1 - CONFIDENCE) / 2
    degrees = float((t.ppf(ends, size - 1) / t.ppf(ends, clusters - 1)) ** 2)
    return min(size / effect * degrees, size)


def _agreement(values: Sequence[tuple[Hashable, float]]) -> Agreement | None:
    if not values:
        return None
    return Agreement(
        rate=fsum(value for _, value in values) / len(values),
        low=lower_bound(values),
        comparisons=len(values),
        raters=len({cluster for cluster, _ in values}),
    )


def _agree(one: int, other: int) -> float:
    return (1 + one * other) / 2 if one and other else (1.0 if one == other else 0.5)


def _same_pair(seen: Iterable[Calibration]) -> list[tuple[Calibration, Calibration]]:
    by_pair: dict[Hashable, list[Calibration]] = defaultdict(list)
    for one in seen:
        by_pair[one.pair].append(one)
    return [two for group in by_pair.values() for two in combinations(group, 2)]
