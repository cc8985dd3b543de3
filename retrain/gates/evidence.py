"""The data that the online gate decides on, and the evidence in it over time. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from retrain.gates.e_process import (
    Direction,
    Path,
    Unit,
    VoteStream,
    arm_path,
    preference_path,
    rare_event_path,
)

Stream = Literal["first", "day"]
"""How a user's votes become one unit: the first vote, or the mean vote of the first 24 hours."""

STREAMS: tuple[Stream, ...] = ("first", "day")
RANK_MARGIN = 0.05
"""How much worse the canary's mean rank (0 to 1) of latency or length may be without an alarm."""


class Timed(NamedTuple):
    """A unit and when it was completed, in seconds since the canary began."""

    at: float
    unit: Unit


class Happened(NamedTuple):
    """A user's first event of a kind, in seconds since the canary began.

    `canary` tells whether the user is in the canary's arm, `share` is the canary's share when the
    user was first seen.
    """

    at: float
    canary: bool
    share: float


class Compared(NamedTuple):
    """A user's first blind comparison, in seconds since the canary began.

    `canary_won` is None if neither side won: both were equally good, or `both_bad`.
    """

    at: float
    canary_won: bool | None
    both_bad: bool = False


@dataclass(frozen=True)
class CanaryEvidence:
    """The input of the online gate, each sequence in order of time. Properties are cached.

    Attributes:
        first: Each user's first vote.
        day: The mean of each user's votes in the first 24 hours.
        compared: Blind comparisons between the canary and live.
        events: Rare events (errors, harms) by name, the first of each user.
        ranks: Latencies and lengths by name, as ranks among live's of the day before; 1 is worst.
        rate: Live's mean vote in the week before the canary.
        age_days: Days since the canary began.

    """

    first: Sequence[Timed] = ()
    day: Sequence[Timed] = ()
    compared: Sequence[Compared] = ()
    events: Mapping[str, Sequence[Happened]] = field(default_factory=dict)
    ranks: Mapping[str, Sequence[Timed]] = field(default_factory=dict)
    rate: float = 0.5
    age_days: float = 0.0

    def of(self, stream: Stream) -> Sequence[Timed]:
        """Return the votes of one stream."""
        return self.first if stream == "first" else self.day

    @cached_property
    def votes(self) -> Mapping[Stream, VoteStream]:
        """The votes of each stream as arrays."""
        return {
            stream: VoteStream.of([unit for _, unit in self.of(stream)], self.rate)
            for stream in STREAMS
        }

    @cached_property
    def curves(self) -> "Mapping[Stream, StreamCurves]":
        """The evidence of each stream. Blind comparisons count as evidence for `better`, too."""
        return {stream: _stream_curves(self, stream) for stream in STREAMS}

    @cached_property
    def alarms(self) -> "Mapping[str, Curve]":
        """The evidence against the canary in each guardrail, by name."""
        return _guardrail_curves(self)


@dataclass(frozen=True, slots=True)
class Curve:
    """Evidence over time: a step function that is 1 before its first step.

    `times` are seconds since the canary began, ascending; both arrays are float64 of shape [n].
    """

    times: Path
    values: Path

    @property
    def last(self) -> float:
        """The latest evidence."""
        return float(self.values[-1]) if self.values.size else 1.0

    def at(self, times: Path, side: Literal["left", "right"] = "right") -> Path:
        """Return the evidence at the given times; just before them with the side `left`."""
        values = np.concatenate(([1.0], self.values))
        return values[np.searchsorted(self.times, times, side=side)]

    def crossing(self, threshold: float, *, since: float = 0.0) -> float | None:
        """Return the first time at or after `since` at which the evidence is at the threshold.

        Returns None if it never is.
        """
        current = max(int(np.searchsorted(self.times, since, side="right")) - 1, 0)
        reached = np.flatnonzero(self.values[current:] >= threshold)
        return max(float(self.times[current + reached[0]]), since) if reached.size else None


@dataclass(frozen=True, slots=True)
class StreamCurves:
    """The evidence of one stream that the canary is better, and that it is worse, than live."""

    better: Curve
    worse: Curve


def stream_curves(evidence: CanaryEvidence, stream: Stream) -> StreamCurves:
    """Return the evidence of a stream over time."""
    return evidence.curves[stream]


def vote_curve(
    evidence: CanaryEvidence,
    stream: Stream,
    direction: Direction,
    margin: float = 0.0,
) -> Curve:
    """Return the evidence of a stream's votes alone. See `e_process.VoteStream.path`."""
    return Curve(_times(evidence.of(stream)), evidence.votes[stream].path(direction, margin))


def voting_curve(evidence: CanaryEvidence) -> Curve:
    """Return the evidence that the probability of voting depends on the arm."""
    arms = [(unit.canary, unit.share) for _, unit in evidence.first]
    return Curve(_times(evidence.first), arm_path(arms))


def _stream_curves(evidence: CanaryEvidence, stream: Stream) -> StreamCurves:
    votes = vote_curve(evidence, stream, "better")
    return StreamCurves(
        better=_with_comparisons(votes, evidence),
        worse=vote_curve(evidence, stream, "worse"),
    )


def _guardrail_curves(evidence: CanaryEvidence) -> dict[str, Curve]:
    rare = {
        name: Curve(_times(seen), rare_event_path([(one.canary, one.share) for one in seen]))
        for name, seen in evidence.events.items()
    }
    ranked = {name: _rank_curve(seen) for name, seen in evidence.ranks.items()}
    return rare | ranked


def _rank_curve(seen: Sequence[Timed]) -> Curve:
    votes = VoteStream.of([unit for _, unit in seen], rate=0.5)
    return Curve(_times(seen), votes.path("better", RANK_MARGIN))


def _with_comparisons(votes: Curve, evidence: CanaryEvidence) -> Curve:
    """Return the evidence of a stream's votes and of the blind comparisons together.

    When a side wins a comparison for the first time, half of the evidence so far is bet on
    comparisons from that one on, the other half stays on votes. Who divides what was gained so far,
    before the outcome is seen, still holds an e-process; and what was decided before that time
    stays decided. (To take the mean of both from the beginning, but only if there are comparisons,
    would raise low evidence at the first of them.)
    """
    decisive = [one.at for one in evidence.compared if one.canary_won is not None]
    if not decisive:
        return votes
    won = preference_path([one.canary_won for one in evidence.compared])
    comparisons = Curve(_times(evidence.compared), won)
    divided = votes.at(np.array(decisive[:1]), side="left")
    times = np.union1d(votes.times, comparisons.times)
    alone, together = votes.at(times), (votes.at(times) + divided * comparisons.at(times)) / 2
    return Curve(times, np.where(times < decisive[0], alone, together))


def _times(seen: Sequence[Timed] | Sequence[Happened] | Sequence[Compared]) -> Path:
    return np.array([one.at for one in seen], dtype=float)
