"""Compares two servers by paired measurements."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of geometric means with its 95 % interval."""

    mean: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Ratio `ours / theirs` from measurements of the same rounds.

    The interval is a t-interval on the logarithms of the rounds' ratios: effects of a round on both
    servers cancel, and slow rounds have no more weight than fast ones. Raises `ValueError` for
    fewer than two rounds, different lengths, and measurements that are not positive.
    """
    if len(ours) != len(theirs) or len(ours) < 2:
        raise ValueError("a paired ratio needs two rounds or more, measured on both")
    if min(*ours, *theirs) <= 0:
        raise ValueError("a ratio needs positive measurements")
    logs = np.log(np.asarray(ours, float)) - np.log(np.asarray(theirs, float))
    mean, error = float(logs.mean()), float(logs.std(ddof=1)) / math.sqrt(len(logs))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1)) * error
    return Ratio(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach), len(logs))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of `values` do not exceed; NaN for none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
