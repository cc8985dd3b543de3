"""What a canary's users have shown so far, and the evidence in it over time. Pure."""

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
STREAMS: tuple[Stream, ...] = ("first", "day")
RANK_MARGIN = 0.05
"""Ranks of times and lengths may be worse by this much on average."""


class Timed(NamedTuple):
    """A unit and when it was complete, in seconds since the canary began."""

    at: float
    unit: Unit


class Happened(NamedTuple):
    """A user's first event of a kind; `canary`: in the canary's arm; `share`: when first seen."""

    at: float
    canary: bool
    share: float


class Compared(NamedTuple):
    """A blind comparison that was decided."""

    at: float
    canary_won: bool


@dataclass(frozen=True)
class CanaryEvidence:
    """All that the online gate looks at, each sequence in order of time.

    `first` holds each user's first vote, `day` the mean of a user's votes in the first 24 hours.
    `rate` is live's mean vote of the week before. `events` are rare ones (errors, harms) by name;
    `ranks` are times and lengths as ranks among live's of the day before, 1 the worst. `age_days`
    is how long the canary has lasted. What follows from all of that is worked out once.
    """

    first: Sequence[Timed] = ()
    day: Sequence[Timed] = ()
    compared: Sequence[Compared] = ()
    events: Mapping[str, Sequence[Happened]] = field(default_factory=dict)
    ranks: Mapping[str, Sequence[Timed]] = field(default_factory=dict)
    rate: float = 0.5
    age_days: float = 0.0

    def of(self, stream: Stream) -> Sequence[Timed]:
        """The votes of one stream."""
        return self.first if stream == "first" else self.day

    @cached_property
    def votes(self) -> Mapping[Stream, VoteStream]:
        """Each stream's votes as arrays."""
        return {
            stream: VoteStream.of([unit for _, unit in self.of(stream)], self.rate)
            for stream in STREAMS
        }

    @cached_property
    def curves(self) -> "Mapping[Stream, StreamCurves]":
        """Both claims about each stream; blind comparisons speak for the same one as votes do."""
        return {stream: _stream_curves(self, stream) for stream in STREAMS}

    @cached_property
    def alarms(self) -> "Mapping[str, Curve]":
        """The evidence against the canary of every guardrail, by name."""
        return _guardrail_curves(self)


@dataclass(frozen=True, slots=True)
class Curve:
    """Evidence over time: a step function that is 1 before its first step."""

    times: Path
    values: Path

    @property
    def last(self) -> float:
        """The evidence now."""
        return float(self.values[-1]) if self.values.size else 1.0

    def crossing(self, threshold: float, *, since: float = 0.0) -> float | None:
        """When the evidence first stood at the threshold, at `since` or later."""
        current = max(int(np.searchsorted(self.times, since, side="right")) - 1, 0)
        reached = np.flatnonzero(self.values[current:] >= threshold)
        return max(float(self.times[current + reached[0]]), since) if reached.size else None


@dataclass(frozen=True, slots=True)
class StreamCurves:
    """Both claims about one stream."""

    better: Curve
    worse: Curve


def stream_curves(evidence: CanaryEvidence, stream: Stream) -> StreamCurves:
    """The evidence of a stream over time."""
    return evidence.curves[stream]


def vote_curve(
    evidence: CanaryEvidence,
    stream: Stream,
    direction: Direction,
    margin: float = 0.0,
) -> Curve:
    """The evidence of a stream's votes alone (`evidence_process.VoteStream.path`)."""
    return Curve(_times(evidence.of(stream)), evidence.votes[stream].path(direction, margin))


def voting_curve(evidence: CanaryEvidence) -> Curve:
    """The evidence that it depends on the arm who votes at all."""
    arms = [(unit.canary, unit.share) for _, unit in evidence.first]
    return Curve(_times(evidence.first), arm_path(arms))


def _stream_curves(evidence: CanaryEvidence, stream: Stream) -> StreamCurves:
    votes = vote_curve(evidence, stream, "better")
    return StreamCurves(
        better=_averaged(votes, _comparisons(evidence)) if evidence.compared else votes,
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


def _comparisons(evidence: CanaryEvidence) -> Curve:
    won = [comparison.canary_won for comparison in evidence.compared]
    return Curve(_times(evidence.compared), preference_path(won))


def _averaged(one: Curve, other: Curve) -> Curve:
    """The mean of two curves: of two e-processes for one claim it is one again."""
    times = np.union1d(one.times, other.times)
    return Curve(times, (_at(one, times) + _at(other, times)) / 2)


def _at(curve: Curve, times: Path) -> Path:
    values = np.concatenate(([1.0], curve.values))
    return values[np.searchsorted(curve.times, times, side="right")]


def _times(seen: Sequence[Timed] | Sequence[Happened] | Sequence[Compared]) -> Path:
    return np.array([one.at for one in seen], dtype=float)
