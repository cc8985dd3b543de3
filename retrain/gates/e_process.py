"""E-processes: evidence that can be checked after every user without inflating the error rate.

Under the null hypothesis each factor has conditional expectation one, so the probability that the
product ever reaches a threshold K is at most 1/K (Ville's inequality; see Ramdas et al.,
arXiv:2210.01948, and Grünwald, de Heide and Koolen, arXiv:1906.07801). Each factor is a bet on one
user (testing by betting: Waudby-Smith and Ramdas, arXiv:2010.09686). The bet uses the
randomisation: given the vote, the user's arm is a coin of known probability `share`. Therefore
drift, base rates and arms of unequal size do not matter. The idea of e-variables for a
comparison of two randomised arms is that of Turner, Ly and Grünwald (arXiv:2106.02693); here the
factor is linear in votes from [0, 1].

Pure: takes sequences of n units and returns the whole path, float64 of shape [n].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

Path = npt.NDArray[np.float64]
"""The evidence after each unit, in order: float64 of shape [n]. 1 means no evidence."""

Direction = Literal["better", "worse"]

BETS = np.array([0.01, 0.02, 0.04, 0.06, 0.10, 0.15, 0.20, 0.30])
"""Differences in mean votes that the bets are tuned for; the evidence is the mean over all bets."""

RATIOS = np.array([1.5, 2.0, 3.0, 5.0, 8.0])
"""Canary's over live's event rate for which the bets of `rare_event_path` are tuned."""

PREFERENCES = np.array([0.52, 0.55, 0.60, 0.70])
"""Shares of comparisons won for which the bets of `preference_path` are tuned."""

_MIN_VARIANCE = 0.03
"""Lower bound of the estimated variance of votes, which keeps bets from growing too large."""
_MAX_STAKE = 0.75
"""Largest share of the evidence that one user's vote can lose."""
_WARM_UP = 20
"""Users that the initial estimate of the mean counts for."""
_MIN_WEIGHT = 0.003
"""Least weight of a new vote in the running estimates, so that they follow drift."""
_RATE_BOUNDS = (0.02, 0.98)
"""Bounds of the estimated mean vote."""


class Unit(NamedTuple):
    """One user's vote in one stream.

    Attributes:
        canary: Whether the user is in the canary's arm.
        vote: From 0 (bad) to 1 (good).
        share: Probability of the canary's arm when the user was first seen, in (0, 1).

    """

    canary: bool
    vote: float
    share: float


@dataclass(frozen=True, slots=True)
class VoteStream:
    """The units of one stream as arrays, float64 of shape [n] each.

    `arm` is 1 for the canary and 0 for live. `mean` and `variance` are estimates from earlier
    votes only: a bet must not depend on the vote that it is placed on.
    """

    arm: Path
    vote: Path
    share: Path
    mean: Path
    variance: Path

    @classmethod
    def of(cls, units: Sequence[Unit], rate: float) -> Self:
        """Build the arrays of `units`, given in the order in which they were completed.

        `rate` is live's mean vote in the week before the canary, the initial estimate of the mean.
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
        """Return the evidence that canary minus live, in mean votes, is not `margin`.

        Args:
            direction: `better` is evidence for a difference above `margin`, `worse` for one below.
            margin: Canary minus live. With `better`, a negative margin tests non-inferiority: the
                canary is worse by less than that.

        Returns:
            The evidence after each unit, float64 of shape [n].

        """
        if not self.vote.size:
            return np.empty(0)
        sign = 1.0 if direction == "better" else -1.0
        spread = self.share * (1 - self.share)
        gain = sign * ((self.arm - self.share) * (self.vote - self.mean) - spread * margin)
        return _mixture(np.log1p(self.bets(margin) * gain[:, None]))

    def bets(self, margin: float = 0.0) -> npt.NDArray[np.float64]:
        """Return what is staked on each unit, shape [n, bets]; it depends on earlier units only."""
        most = np.maximum(self.share, 1 - self.share) * np.maximum(self.mean, 1 - self.mean)
        most += self.share * (1 - self.share) * abs(margin)
        bets: npt.NDArray[np.float64] = np.minimum(
            BETS / self.variance[:, None], (_MAX_STAKE / most)[:, None]
        )
        return bets


def rare_event_path(happened: Sequence[tuple[bool, float]]) -> Path:
    """Return the evidence that an event is more frequent among the canary's users than live's.

    If the rates are equal, the arm of a user who has the event is a coin of probability share.

    Args:
        happened: For each user's first event, in order of time: whether the user is in the canary's
            arm, and the canary's share.

    Returns:
        The evidence after each event, float64 of shape [n].

    """
    if not happened:
        return np.empty(0)
    arm = np.array([canary for canary, _ in happened], dtype=float)[:, None]
    share = np.array([share for _, share in happened], dtype=float)[:, None]
    return _mixture(arm * np.log(RATIOS)[None, :] - np.log(1 - share + share * RATIOS[None, :]))


def preference_path(won: Sequence[bool | None]) -> Path:
    """Return the evidence that the canary wins more blind comparisons than it loses.

    A win multiplies a bet by 2w, a loss by 2 - 2w, and a comparison that neither side won by 1. If
    the probabilities of a win (p) and of a loss (q) are equal, a factor's expectation is
    1 - p - q + 2wp + (2 - 2w)q = 1 + (2w - 1)(p - q) = 1, whatever share 1 - p - q is not won by
    either, and however that share differs between users, questions, versions and times. So ties
    need no model. A tie that counts as half a win gives the same: 1 + (2w - 1)(2S - 1) is 1 at
    S = 1/2.

    Args:
        won: For each comparison, in order of time: whether the canary won it; None if neither side
            did (equally good, or both bad).

    Returns:
        The evidence after each comparison, float64 of shape [n].

    """
    if not won:
        return np.empty(0)
    wins = np.array([one is True for one in won], dtype=float)[:, None]
    losses = np.array([one is False for one in won], dtype=float)[:, None]
    odds = np.log(2 * PREFERENCES)[None, :], np.log(2 - 2 * PREFERENCES)[None, :]
    return _mixture(wins * odds[0] + losses * odds[1])


def arm_path(arms: Sequence[tuple[bool, float]]) -> Path:
    """Return the evidence that the probability of voting depends on the arm.

    If it does, the votes of the two arms cannot be compared (a sample ratio mismatch). The test is
    two-sided: the mean of `rare_event_path` for more and for fewer voters in the canary's arm.

    Args:
        arms: For each user who voted, in order: whether the user is in the canary's arm, and the
            canary's share.

    Returns:
        The evidence after each user, float64 of shape [n].

    """
    if not arms:
        return np.empty(0)
    more = rare_event_path(arms)
    fewer = rare_event_path([(not canary, 1 - share) for canary, share in arms])
    return (more + fewer) / 2


def _running(vote: Path, rate: float) -> tuple[Path, Path]:
    """Return the estimates of mean and variance before each vote, float64 of shape [n] each."""
    theta, variance = np.empty_like(vote), np.empty_like(vote)
    mean, spread = rate, rate * (1 - rate)
    weights = np.maximum(1 / (np.arange(vote.size) + 1 + _WARM_UP), _MIN_WEIGHT)
    for index, (value, weight) in enumerate(zip(vote.tolist(), weights.tolist(), strict=True)):
        theta[index], variance[index] = mean, spread
        spread += weight * ((value - mean) ** 2 - spread)
        mean = min(max(mean + weight * (value - mean), _RATE_BOUNDS[0]), _RATE_BOUNDS[1])
    return theta, np.maximum(variance, _MIN_VARIANCE)


def _mixture(steps: npt.NDArray[np.float64]) -> Path:
    """Return the mean over all bets of each bet's product so far.

    `steps` holds the logarithms of the factors, shape [n, bets]. The result has shape [n]; it is
    inf on overflow and 0 on underflow.
    """
    logs = np.cumsum(steps, axis=0)
    top = logs.max(axis=1, keepdims=True)
    with np.errstate(over="ignore"):
        path: Path = np.exp(top[:, 0]) * np.exp(logs - top).mean(axis=1)
    return path
