"""Simulated canaries: votes clustered by user, heavy raters, and drifting base rates.

Each user has a base rate (beta distribution, so that the votes of one user are correlated), a
number of votes (log-normal, so that a few users cast most of them) and a first visit. All rates
vary together with the hour and from day to day. A canary adds a difference to its users' rates.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.workloads.comparisons import Comparers, first_comparisons
from retrain.gates.e_process import Unit
from retrain.gates.evidence import CanaryEvidence, Happened, Timed
from retrain.gates.online import DAY_SECONDS

Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_CLUSTERING = 3.0
_VOTES_MEDIAN, _VOTES_SPREAD, _VOTES_MOST = 2.5, 1.1, 200
_SAME_DAY = 0.6
_HOURLY, _DAILY = 0.05, 0.03
_LEAST, _MOST = 0.02, 0.98


@dataclass(frozen=True, slots=True)
class World:
    """The true parameters: `live` and `canary` are the mean rates of each arm's users.

    `stages` has the shares and the day on which each begins. `slope` is the change of all rates
    over the whole time. `comparers` are users who also decide blind comparisons, if any.
    """

    live: float = 0.5
    canary: float = 0.5
    users: int = 8_000
    days: float = 14.0
    stages: tuple[tuple[float, float], ...] = ((0.0, 0.5),)
    slope: float = 0.0
    comparers: Comparers | None = None


def make_canary(world: World, rng: np.random.Generator) -> CanaryEvidence:
    """Draw one canary's evidence, in the form in which the service reads it from the log."""
    seen = np.sort(rng.uniform(0, world.days, world.users))
    begins = np.array([day for day, _ in world.stages])
    stage = np.searchsorted(begins, seen, side="right") - 1
    share = np.array([share for _, share in world.stages])[stage]
    canary = rng.random(world.users) < share
    user, at = visits(seen, rng)
    counts = at < np.append(begins[1:], world.days)[stage][user]
    user, at = user[counts], at[counts]
    vote = (rng.random(at.size) < rates(world, canary, user, at, rng)).astype(float)
    voters, place = np.unique(user, return_index=True)
    opened = at[place]
    same_day = at < (opened[np.searchsorted(voters, user)] + 1)
    total = np.bincount(user[same_day], vote[same_day], minlength=world.users)
    mean = total / np.maximum(np.bincount(user[same_day], minlength=world.users), 1)
    closed = opened + 1 < np.append(begins[1:], world.days)[stage][voters]
    arms = _Arms(canary, share)
    return CanaryEvidence(
        first=arms.timed(voters, opened, vote[place]),
        day=arms.timed(voters[closed], opened[closed] + 1, mean[voters[closed]]),
        compared=first_comparisons(world.comparers, seen, rng) if world.comparers else (),
        rate=world.live,
        age_days=world.days,
    )


def make_events(
    users: int, share: float, rates: tuple[float, float], rng: np.random.Generator
) -> list[Happened]:
    """Draw the first events of users, at most one each, at the rates of live and canary."""
    canary = rng.random(users) < share
    happened = rng.random(users) < np.where(canary, rates[1], rates[0])
    return [Happened(float(at), bool(canary[at]), share) for at in np.flatnonzero(happened)]


@dataclass(frozen=True, slots=True)
class _Arms:
    canary: npt.NDArray[np.bool_]
    share: Numbers

    def timed(self, users: Indices, at: Numbers, vote: Numbers) -> list[Timed]:
        """Units of these users, in order of time."""
        order = np.argsort(at)
        columns = (self.canary[users[order]], vote[order], self.share[users[order]])
        units = map(Unit._make, zip(*(column.tolist() for column in columns), strict=True))
        moments = (at[order] * DAY_SECONDS).tolist()
        return list(map(Timed._make, zip(moments, units, strict=True)))


def visits(
    seen: Numbers, rng: np.random.Generator, *, most: int = _VOTES_MOST
) -> tuple[Indices, Numbers]:
    """Draw the votes' users and times (days), sorted; most votes are on a user's first day."""
    count = np.rint(_VOTES_MEDIAN * np.exp(_VOTES_SPREAD * rng.normal(size=seen.size)))
    user = np.repeat(np.arange(seen.size), np.clip(count, 1, most).astype(int))
    later = np.where(rng.random(user.size) < _SAME_DAY, 0.1, 4.0)
    at = seen[user] + later * rng.random(user.size)
    order = np.lexsort((at, user))
    return user[order], at[order]


def rates(
    world: World,
    canary: npt.NDArray[np.bool_],
    user: Indices,
    at: Numbers,
    rng: np.random.Generator,
) -> Numbers:
    """Return the probability that each vote is good: the user's rate plus the drift."""
    mean = np.where(canary, world.canary, world.live)
    own = rng.beta(_CLUSTERING * mean, _CLUSTERING * (1 - mean))
    daily = rng.normal(0, _DAILY, int(world.days) + 5)[at.astype(int)]
    hourly = _HOURLY * np.sin(2 * np.pi * at)
    moved = own[user] + daily + hourly + world.slope * at / world.days
    return np.asarray(np.clip(moved, _LEAST, _MOST))
