"""Many canaries of equal versions at once, with the online gate's arithmetic.

If the versions are equal, a user's arm is a coin that says nothing about the votes. So the votes of
one simulated world (clusters by user, drift: `bench.workloads.canaries`) serve many canaries, each
with coins of its own, and the gate's estimates of mean and variance, which do not depend on the
arms, are computed once. Each canary is then a product of one factor a user; what is kept of it is
when it is rolled back, and the records of its evidence from `LEAST` on, from which follows when any
threshold is reached. `tests/bench/learning/test_equal_canaries.py` compares this with
`retrain.gates.online.decision`.

Left out is what only ends canaries or blocks promotions: guardrails, and the test whether voting
depends on the arm.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bench.workloads.canaries import World, make_canary
from retrain.config import OnlineGateConfig
from retrain.gates.e_process import VoteStream
from retrain.gates.evidence import STREAMS, CanaryEvidence, Timed
from retrain.gates.online import DAY_SECONDS

LEAST = 100.0
"""Evidence from which on records are kept: no promotion has a lower threshold."""
COPIES = 512
"""Canaries of one world."""

_ROUNDING = 1e-3
"""Seconds; less than lies between two users."""

Arms = npt.NDArray[np.bool_]


@dataclass(slots=True)
class EqualCanary:
    """One canary of equal versions, in days since it began.

    `records` are times at which the evidence of a stream that it is better exceeded all before,
    with the evidence; `ends` is when it was shown to be worse, or the end of its time.
    """

    ends: float
    records: list[tuple[float, float]] = field(default_factory=list)

    def promoted(self, threshold: float) -> float | None:
        """Return when the canary is promoted at this threshold, or None."""
        reached = (at for at, evidence in self.records if evidence >= threshold)
        at = min(reached, default=self.ends)
        return at if at < self.ends else None


def equal_canaries(world: World, rng: np.random.Generator) -> Iterator[EqualCanary]:
    """Yield canaries without end, `COPIES` of each world that is drawn."""
    while True:
        evidence = make_canary(world, rng)
        share = np.array([unit.share for _, unit in evidence.first])
        yield from canaries_of(evidence, world.days, rng.random((COPIES, share.size)) < share)


def canaries_of(evidence: CanaryEvidence, days: float, arms: Arms) -> list[EqualCanary]:
    """Return canaries with the votes of `evidence` and the arms of its first voters, [copies, n].

    The arms in `evidence` are not used.
    """
    canaries = [EqualCanary(days) for _ in range(len(arms))]
    config = OnlineGateConfig()
    if len(evidence.first) >= config.rated_users:
        since = evidence.first[config.rated_users - 1].at
        _run(canaries, _Stream(evidence.first, evidence.rate, since), arms)
        if evidence.day:
            theirs = arms[:, _first_votes_of(evidence)]
            _run(canaries, _Stream(evidence.day, evidence.rate, since), theirs)
    return canaries


def _first_votes_of(evidence: CanaryEvidence) -> npt.NDArray[np.intp]:
    """Return the place of each day's user among the first voters, whose day began with the vote."""
    opened = np.array([one.at for one in evidence.first])
    began = np.array([one.at for one in evidence.day]) - DAY_SECONDS
    return np.searchsorted(opened, began - _ROUNDING)


class _Stream:
    """The factors by which each unit of a stream multiplies the evidence, better and worse.

    `if_live` and `more_if_canary` have shape [n, 2 x bets]; `begin` is the first unit at which the
    gate may decide.
    """

    def __init__(self, units: Sequence[Timed], rate: float, since: float) -> None:
        votes = VoteStream.of([unit for _, unit in units], rate)
        bets, off = votes.bets(), (votes.vote - votes.mean)[:, None]
        share = votes.share[:, None]
        live, canary = -share * off * bets, (1 - share) * off * bets
        self.if_live = np.hstack([1 + live, 1 - live])
        self.more_if_canary = np.hstack([1 + canary, 1 - canary]) - self.if_live
        at = np.array([one.at for one in units])
        self.begin = max(int(np.searchsorted(at, since, side="right")) - 1, 0)
        self.days = np.maximum(at, since) / DAY_SECONDS


def _run(canaries: Sequence[EqualCanary], stream: _Stream, arms: Arms) -> None:
    """Multiply each canary's evidence up, and note ends and records."""
    bets = stream.if_live.shape[1] // 2
    worse = len(STREAMS) / OnlineGateConfig().alpha_roll_back
    evidence = np.ones((len(canaries), 2 * bets))
    means = np.kron(np.eye(2), np.full((bets, 1), 1 / bets))
    best = np.full(len(canaries), np.nextafter(LEAST, 0))
    running = np.ones(len(canaries), dtype=bool)
    toss = arms.T[:, :, None].astype(float)
    for unit, day in enumerate(stream.days):
        evidence *= stream.if_live[unit] + toss[unit] * stream.more_if_canary[unit]
        if unit < stream.begin:
            continue
        now = evidence @ means
        for one in np.flatnonzero((now[:, 0] > best) & running):
            best[one] = now[one, 0]
            canaries[one].records.append((float(day), float(now[one, 0])))
        for one in np.flatnonzero((now[:, 1] >= worse) & running):
            running[one] = False
            canaries[one].ends = min(canaries[one].ends, float(day))
