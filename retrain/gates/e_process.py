"""E-processes: evidence that may be looked at after every user without inflating the error rate.

Under the null hypothesis each step has expectation one whatever came before, so the chance that the
product ever reaches a threshold K is at most 1/K (Ville's inequality). A step bets on one user: the
assignment to an arm is a coin of known probability `pi` given the vote (Turner and Grünwald's
e-variable for randomised blocks of one, linearised for votes in [0, 1]); drift, base rates and
unequal arms do not matter. Pure: sequences in, the whole path out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

Path = npt.NDArray[np.float64]
"""The evidence after each unit: an E value per unit, in order."""

Direction = Literal["better", "worse"]

BETS = np.array([0.01, 0.02, 0.04, 0.06, 0.10, 0.15, 0.20, 0.30])
"""Differences in rate that are bet on; the evidence is the mean over all bets."""

RATIOS = np.array([1.5, 2.0, 3.0, 5.0, 8.0])
"""How many times more frequent a rare event may have become, for `rare_event_path`."""

PREFERENCES = np.array([0.52, 0.55, 0.60, 0.70])
"""Shares of won comparisons that are bet on, for `preference_path`."""

_LEAST_VARIANCE = 0.03
_MOST_AT_STAKE = 0.75
_WARM_UP = 20
_SLOWEST = 0.003
_RATE_BOUNDS = (0.02, 0.98)


@dataclass(frozen=True, slots=True)
class Unit:
    """One user's vote in one stream: `canary` says which arm, `share` the canary's when first seen.

    `vote` lies in [0, 1], better above.
    """

    canary: bool
    vote: float
    share: float


@dataclass(frozen=True, slots=True)
class VoteStream:
    """Units as arrays, with what was known before each: bets look at the past only."""

    arm: Path
    vote: Path
    share: Path
    mean: Path
    variance: Path

    @classmethod
    def of(cls, units: Sequence[Unit], rate: float) -> Self:
        """Of units in the order in which they were complete.

        `rate` is live's mean vote of the week before: where the running mean starts.
        """
        vote = np.array([unit.vote for unit in units], dtype=float)
        mean, variance = _running(vote, rate)
        return cls(
            arm=np.array([unit.canary for unit in units], dtype=float),
            vote=vote,
            share=np.array([unit.share for unit in units], dtype=float),
            mean=mean,
            variance=variance,
        )

    def path(self, direction: Direction, margin: float = 0.0) -> Path:
        """Evidence that the canary's mean vote is better (or worse) than live's by over `margin`.

        `margin` is canary minus live: a negative one with `better` is the claim that the canary is
        worse by less than that.
        """
        if not self.vote.size:
            return np.empty(0)
        sign = 1.0 if direction == "better" else -1.0
        spread = self.share * (1 - self.share)
        gain = sign * ((self.arm - self.share) * (self.vote - self.mean) - spread * margin)
        most = np.maximum(self.share, 1 - self.share) * np.maximum(self.mean, 1 - self.mean)
        most += spread * abs(margin)
        bets = np.minimum(BETS / self.variance[:, None], (_MOST_AT_STAKE / most)[:, None])
        return _mixture(np.log1p(bets * gain[:, None]))


def rare_event_path(happened: Sequence[tuple[bool, float]]) -> Path:
    """Evidence that an event befalls the canary's users more often than live's.

    `happened` names, for each user's first event in order, whether it was the canary's user, and
    the share. Equal rates make the arm a coin of that probability.
    """
    if not happened:
        return np.empty(0)
    arm = np.array([canary for canary, _ in happened], dtype=float)[:, None]
    share = np.array([share for _, share in happened], dtype=float)[:, None]
    return _mixture(arm * np.log(RATIOS)[None, :] - np.log(1 - share + share * RATIOS[None, :]))


def preference_path(won: Sequence[bool]) -> Path:
    """Evidence that the canary wins more than half of the blind comparisons; ties are left out."""
    if not won:
        return np.empty(0)
    wins = np.array(won, dtype=float)[:, None]
    odds = np.log(2 * PREFERENCES)[None, :], np.log(2 - 2 * PREFERENCES)[None, :]
    return _mixture(wins * odds[0] + (1 - wins) * odds[1])


def arm_path(arms: Sequence[tuple[bool, float]]) -> Path:
    """Evidence that who votes depends on the arm: then no comparison of votes means anything.

    Bets on both sides, each as `rare_event_path` or its mirror image.
    """
    if not arms:
        return np.empty(0)
    more = rare_event_path(arms)
    fewer = rare_event_path([(not canary, 1 - share) for canary, share in arms])
    return (more + fewer) / 2


def _running(vote: Path, rate: float) -> tuple[Path, Path]:
    """Estimates of mean and variance as they stood before each vote: bets look at the past only."""
    theta, variance = np.empty_like(vote), np.empty_like(vote)
    mean, spread = rate, rate * (1 - rate)
    for index, value in enumerate(vote.tolist()):
        theta[index], variance[index] = mean, max(spread, _LEAST_VARIANCE)
        weight = max(1 / (index + 1 + _WARM_UP), _SLOWEST)
        spread += weight * ((value - mean) ** 2 - spread)
        mean = min(max(mean + weight * (value - mean), _RATE_BOUNDS[0]), _RATE_BOUNDS[1])
    return theta, variance


def _mixture(steps: npt.NDArray[np.float64]) -> Path:
    """The mean over all bets of each bet's product so far; over- and underflow end in inf and 0."""
    logs = np.cumsum(steps, axis=0)
    top = logs.max(axis=1, keepdims=True)
    with np.errstate(over="ignore"):
        path: Path = np.exp(top[:, 0]) * np.exp(logs - top).mean(axis=1)
    return path
