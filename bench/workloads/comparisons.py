"""Simulated blind comparisons: users with tastes of their own, ties, and answers that are both bad.

A user compares several times. Which side the user prefers, and how often neither, depends on the
user. If the versions are equal, the canary wins as often as it loses over all users: the first
comparison of a user who is drawn at random has the same probability of either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from retrain.gates.evidence import Compared
from retrain.gates.online import DAY_SECONDS

Outcomes = npt.NDArray[np.int8]
"""1 where the canary won, -1 where live did, 0 where neither; shape [users, comparisons]."""

_CLUSTERING = 3.0
_MOST = 12
"""Comparisons of a user, at most."""
_STOPS = 0.4
"""Probability that a comparison is the user's last."""


@dataclass(frozen=True, slots=True)
class Group:
    """A part of the users: their share, how often the canary wins if one side does, and ties."""

    share: float
    won: float
    undecided: float


@dataclass(frozen=True, slots=True)
class Comparers:
    """The users who compare: `share` of all, in groups; `both_bad` is its part of the undecided."""

    groups: tuple[Group, ...]
    share: float = 0.2
    both_bad: float = 0.25

    @classmethod
    def alike(cls, won: float, undecided: float = 0.4) -> Self:
        """Users of one group; 0.4 is 30 % ties and 10 % both bad."""
        return cls((Group(1.0, won, undecided),))

    @classmethod
    def skewed(cls) -> Self:
        """Equal versions where those who slightly prefer the canary are undecided more often.

        The larger group is undecided in 60 % and prefers the canary in 70 % of the rest, the
        smaller one is undecided in 16 % and prefers live so often that both win alike in total.
        """
        larger = Group(0.6, 0.7, 0.6)
        gained = larger.share * (1 - larger.undecided) * (2 * larger.won - 1)
        lost = gained / (0.4 * (1 - 0.16))
        return cls((larger, Group(0.4, (1 - lost) / 2, 0.16)))


def make_comparisons(
    comparers: Comparers, users: int, rng: np.random.Generator
) -> tuple[Outcomes, npt.NDArray[np.intp]]:
    """Draw the outcomes of `users` who compare, and how many comparisons each makes.

    A user's taste is beta-distributed round the group's, so one user's outcomes are correlated.
    """
    shares = [group.share for group in comparers.groups]
    place = rng.choice(len(shares), users, p=shares)
    won = np.array([group.won for group in comparers.groups])[place]
    undecided = np.array([group.undecided for group in comparers.groups])[place]
    taste = rng.beta(_CLUSTERING * won, _CLUSTERING * (1 - won))[:, None]
    sides = np.where(rng.random((users, _MOST)) < taste, 1, -1)
    outcomes = np.where(rng.random((users, _MOST)) < undecided[:, None], 0, sides)
    return outcomes.astype(np.int8), np.minimum(rng.geometric(_STOPS, users), _MOST)


def first_comparisons(
    comparers: Comparers, seen: npt.NDArray[np.float64], rng: np.random.Generator
) -> Sequence[Compared]:
    """Draw each comparing user's first comparison, as the gate reads it from the log.

    `seen` are the days on which all users were first seen; a comparison follows within a day.
    """
    chosen = seen[rng.random(seen.size) < comparers.share]
    outcomes, _ = make_comparisons(comparers, chosen.size, rng)
    moments = (chosen + rng.random(chosen.size)) * DAY_SECONDS
    bad = rng.random(chosen.size) < comparers.both_bad
    order = np.argsort(moments)
    columns = (moments[order].tolist(), outcomes[order, 0].tolist(), bad[order].tolist())
    return [
        Compared(at, None if outcome == 0 else outcome > 0, both_bad=outcome == 0 and is_bad)
        for at, outcome, is_bad in zip(*columns, strict=True)
    ]
