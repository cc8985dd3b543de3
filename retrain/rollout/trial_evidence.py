"""From what the log holds of a trial to the online gate's evidence. Pure.

A user belongs to the arm and the share of the first request in the trial, whatever came later. When
the share changes, users who were there before speak no more: what some of them met has changed. Who
came while the change was being noted, under one share by the request and another by the stage, does
not count at all.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from feedback.reading.comparisons import Decided
from feedback.reading.trials import Exposure, Pace, Vote
from retrain.gates.e_process import Unit
from retrain.gates.evidence import CanaryEvidence, Compared, Happened, Timed

User = tuple[str, str]

DAY = timedelta(days=1)
NEWER_ROLES = {True: "live", False: "canary"}
"""The newer version's role, by whether the trial is a watch."""

_RATING_LEAST, _RATING_MOST = 1, 5
_LEAST_RATE, _MOST_RATE = 0.02, 0.98


@dataclass(frozen=True, slots=True)
class Stage:
    """From `at` on the newer version answered `share` of the users."""

    at: datetime
    share: float


@dataclass(frozen=True, slots=True)
class TrialLog:
    """What the log holds of a trial; `events` are users and moments by name, oldest first.

    `votes_before` and `paces_before` are live's, of the week and of the day before. `comparisons`
    are those of the trial's two versions, of which `newer` is the one on trial. `unread`: there are
    answers that no harm metric has seen yet.
    """

    exposures: Sequence[Exposure]
    votes: Sequence[Vote]
    events: Mapping[str, Sequence[tuple[User, datetime]]] = field(default_factory=dict)
    votes_before: Sequence[Vote] = ()
    paces_before: Sequence[Pace] = ()
    comparisons: Sequence[Decided] = ()
    newer: str = ""
    unread: bool = False


def trial_evidence(
    log: TrialLog, stages: Sequence[Stage], now: datetime, *, watch: bool
) -> CanaryEvidence:
    """The evidence at `now`; `stages` in order, the first from the trial's begin."""
    users = _Users(log.exposures, stages, watch=watch)
    return CanaryEvidence(
        first=_sorted(_first_votes(users, log.votes)),
        day=_sorted(_day_votes(users, log.votes, now)),
        compared=list(_compared(log, stages[0].at)),
        events={name: _first_events(users, seen) for name, seen in log.events.items()},
        ranks=_ranks(users, log.exposures, log.paces_before),
        rate=_rate(log.votes_before),
        age_days=(now - stages[0].at) / DAY,
    )


def vote_value(value: Any) -> float | None:
    """A thumb or another yes or no, or a rating of one to five, between 0 and 1; None: neither."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int) and _RATING_LEAST <= value <= _RATING_MOST:
        return (value - _RATING_LEAST) / (_RATING_MOST - _RATING_LEAST)
    return None


class _Arm(NamedTuple):
    """Where a user stands: which version, and in which stage first seen."""

    newer: bool
    stage: int


class _Users:
    """Which arm each user belongs to, and until when the user's words count."""

    def __init__(
        self, exposures: Iterable[Exposure], stages: Sequence[Stage], *, watch: bool
    ) -> None:
        self._newer = NEWER_ROLES[watch]
        self._began = stages[0].at
        self._begins = [stage.at for stage in stages]
        self._shares = [stage.share for stage in stages]
        self._arms = {one.user: arm for one in exposures if (arm := self._arm(one)) is not None}

    def unit(self, user: User, at: datetime, vote: float) -> Timed | None:
        """A user's unit, complete at `at`; None where it does not count."""
        arm = self._arms.get(user)
        if arm is None or self._stage(at) != arm.stage:
            return None
        unit = Unit(arm.newer, vote, self._shares[arm.stage])
        return Timed((at - self._began).total_seconds(), unit)

    def _arm(self, exposure: Exposure) -> _Arm | None:
        stage = self._stage(exposure.at)
        if stage < 0 or self._shares[stage] != exposure.share:
            return None
        return _Arm(exposure.role == self._newer, stage)

    def _stage(self, at: datetime) -> int:
        """Which stage it was; -1 before the first."""
        return bisect_right(self._begins, at) - 1


def _first_votes(users: _Users, votes: Iterable[Vote]) -> Iterable[Timed]:
    heard: set[User] = set()
    for vote in votes:
        value = vote_value(vote.value)
        if value is None or vote.user in heard:
            continue
        heard.add(vote.user)
        unit = users.unit(vote.user, vote.at, value)
        if unit is not None:
            yield unit


def _day_votes(users: _Users, votes: Iterable[Vote], now: datetime) -> Iterable[Timed]:
    """The mean of each user's votes in the 24 hours after the first, once they are over."""
    closes: dict[User, datetime] = {}
    values: dict[User, list[float]] = {}
    for vote in votes:
        value = vote_value(vote.value)
        if value is not None and vote.at < closes.setdefault(vote.user, vote.at + DAY):
            values.setdefault(vote.user, []).append(value)
    for user, said in values.items():
        unit = users.unit(user, closes[user], sum(said) / len(said))
        if unit is not None and closes[user] <= now:
            yield unit


def _compared(log: TrialLog, began: datetime) -> Iterable[Compared]:
    """Each user's first decided comparison since the trial began: the user is the unit."""
    heard: set[User] = set()
    for one in log.comparisons:
        if one.at >= began and one.user not in heard:
            heard.add(one.user)
            yield Compared((one.at - began).total_seconds(), one.version == log.newer)


def _first_events(users: _Users, seen: Iterable[tuple[User, datetime]]) -> list[Happened]:
    first: dict[User, datetime] = {}
    for user, at in seen:
        first.setdefault(user, at)
    units = (users.unit(user, at, 1.0) for user, at in first.items())
    return sorted(Happened(one.at, one.unit.canary, one.unit.share) for one in units if one)


def _ranks(
    users: _Users, exposures: Iterable[Exposure], before: Sequence[Pace]
) -> dict[str, list[Timed]]:
    """Each user's first answer among live's of the day before: 1 is slower, or longer, than all."""
    waits = sorted(one.first_token_seconds for one in before if one.first_token_seconds is not None)
    lengths = sorted(float(one.completion_tokens) for one in before)
    ranks: dict[str, list[Timed]] = {"first token": [], "length": []}
    for one in exposures:
        for name, value, known in (
            ("first token", one.first_token_seconds, waits),
            ("length", float(one.completion_tokens), lengths),
        ):
            if value is None or not known:
                continue
            unit = users.unit(one.user, one.at, _rank(value, known))
            if unit is not None:
                ranks[name].append(unit)
    return {name: _sorted(units) for name, units in ranks.items() if units}


def _rank(value: float, known: Sequence[float]) -> float:
    """The share of `known` that lies below, equal values counted half."""
    return (bisect_left(known, value) + bisect_right(known, value)) / (2 * len(known))


def _rate(votes: Iterable[Vote]) -> float:
    """Live's mean vote of the week before; one half where nobody voted."""
    values = [value for vote in votes if (value := vote_value(vote.value)) is not None]
    mean = sum(values) / len(values) if values else 0.5
    return min(max(mean, _LEAST_RATE), _MOST_RATE)


def _sorted(units: Iterable[Timed]) -> list[Timed]:
    return sorted(units, key=lambda timed: timed.at)
