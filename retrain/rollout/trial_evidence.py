"""Convert a trial's log to the online gate's evidence. Pure.

A user's arm and share are those of the first request in the trial. When the share changes, users
who were seen before no longer contribute, because some of them have switched arms. Users whose
first request has another share than the recorded stage, because the change was being recorded at
that time, are ignored.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from feedback.config import MetricConfig
from feedback.metrics.verdict import verdict_of
from feedback.reading.comparisons import DecidedComparison
from feedback.reading.trials import Exposure, Pace, Vote
from retrain.gates.e_process import Unit
from retrain.gates.evidence import CanaryEvidence, Compared, Happened, Timed

User = tuple[str, str]

DAY = timedelta(days=1)
NEWER_ROLES = {True: "live", False: "canary"}
"""The newer version's role in a watch (True) and in a canary (False)."""

_RATING_LEAST, _RATING_MOST = 1, 5
_LEAST_RATE, _MOST_RATE = 0.02, 0.98


@dataclass(frozen=True, slots=True)
class Stage:
    """From `at` on, the newer version answered the share `share` of users."""

    at: datetime
    share: float


@dataclass(frozen=True, slots=True)
class TrialLog:
    """The log of a trial.

    Attributes:
        exposures: The trial's answers.
        votes: The trial's votes.
        events: Users and times of rare events by name, oldest first.
        votes_before: Live's votes in the week before the rollout.
        paces_before: Live's latencies and lengths on the day before the rollout.
        comparisons: Blind comparisons of the trial's two versions.
        newer: The version on trial.
        metrics: The custom metrics among those that count as votes.
        unread: Whether there are answers that the harm metrics have not measured.

    """

    exposures: Sequence[Exposure]
    votes: Sequence[Vote]
    events: Mapping[str, Sequence[tuple[User, datetime]]] = field(default_factory=dict)
    votes_before: Sequence[Vote] = ()
    paces_before: Sequence[Pace] = ()
    comparisons: Sequence[DecidedComparison] = ()
    newer: str = ""
    metrics: Mapping[str, MetricConfig] = field(default_factory=dict)
    unread: bool = False


def trial_evidence(
    log: TrialLog, stages: Sequence[Stage], now: datetime, *, watch: bool
) -> CanaryEvidence:
    """Return the evidence at `now`. `stages` are in order; the first starts with the trial."""
    users = _Users(log.exposures, stages, watch=watch)
    votes = _cast_votes(log.votes, log.metrics)
    return CanaryEvidence(
        first=_sorted(_first_votes(users, votes)),
        day=_sorted(_day_votes(users, votes, now)),
        compared=list(_compared(log, stages[0].at)),
        events={name: _first_events(users, seen) for name, seen in log.events.items()},
        ranks=_ranks(users, log.exposures, log.paces_before),
        rate=_rate(_cast_votes(log.votes_before, log.metrics)),
        age_days=(now - stages[0].at) / DAY,
    )


def vote_value(vote: Vote, metrics: Mapping[str, MetricConfig]) -> float | None:
    """Return a vote as a number from 0 (bad) to 1 (good); None if it says neither.

    A value of a custom metric is good or bad as `feedback.metrics.verdict` says. Otherwise it is a
    boolean, or a rating from 1 to 5.
    """
    if vote.metric_name in metrics:
        verdict = verdict_of(metrics[vote.metric_name], vote.value)
        return None if verdict is None else float(verdict)
    return _built_in_value(vote.value)


def _built_in_value(value: Any) -> float | None:
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int) and _RATING_LEAST <= value <= _RATING_MOST:
        return (value - _RATING_LEAST) / (_RATING_MOST - _RATING_LEAST)
    return None


class _Cast(NamedTuple):
    """A user's vote as a number from 0 (bad) to 1 (good)."""

    user: User
    at: datetime
    value: float


class _Arm(NamedTuple):
    """A user's arm, and the index of the stage in which the user was first seen."""

    newer: bool
    stage: int


class _Users:
    """The arm and stage of each user."""

    def __init__(
        self, exposures: Iterable[Exposure], stages: Sequence[Stage], *, watch: bool
    ) -> None:
        self._newer = NEWER_ROLES[watch]
        self._began = stages[0].at
        self._begins = [stage.at for stage in stages]
        self._shares = [stage.share for stage in stages]
        self._arms = {one.user: arm for one in exposures if (arm := self._arm(one)) is not None}

    def unit(self, user: User, at: datetime, vote: float) -> Timed | None:
        """Return a user's unit, completed at `at`; None if it does not count."""
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
        """Return the index of the stage at a time; -1 before the first."""
        return bisect_right(self._begins, at) - 1


def _cast_votes(votes: Iterable[Vote], metrics: Mapping[str, MetricConfig]) -> list[_Cast]:
    """Return the votes that say good or bad, in the given order."""
    valued = ((vote, vote_value(vote, metrics)) for vote in votes)
    return [_Cast(vote.user, vote.at, value) for vote, value in valued if value is not None]


def _first_votes(users: _Users, votes: Iterable[_Cast]) -> Iterable[Timed]:
    counted: set[User] = set()
    for vote in votes:
        if vote.user in counted:
            continue
        counted.add(vote.user)
        unit = users.unit(vote.user, vote.at, vote.value)
        if unit is not None:
            yield unit


def _day_votes(users: _Users, votes: Iterable[_Cast], now: datetime) -> Iterable[Timed]:
    """Yield the mean of each user's votes in the 24 hours after the first, when they are over."""
    closes: dict[User, datetime] = {}
    values: dict[User, list[float]] = {}
    for vote in votes:
        if vote.at < closes.setdefault(vote.user, vote.at + DAY):
            values.setdefault(vote.user, []).append(vote.value)
    for user, cast in values.items():
        unit = users.unit(user, closes[user], sum(cast) / len(cast))
        if unit is not None and closes[user] <= now:
            yield unit


def _compared(log: TrialLog, began: datetime) -> Iterable[Compared]:
    """Yield each user's first decided comparison since the trial began, whatever it says.

    A tie uses up the user's comparison, as a win does: comparing until something wins would weigh
    users by how seldom they are undecided.
    """
    counted: set[User] = set()
    for one in log.comparisons:
        if one.at >= began and one.user not in counted:
            counted.add(one.user)
            won = None if one.version is None else one.version == log.newer
            yield Compared((one.at - began).total_seconds(), won, one.both_bad)


def _first_events(users: _Users, seen: Iterable[tuple[User, datetime]]) -> list[Happened]:
    first: dict[User, datetime] = {}
    for user, at in seen:
        first.setdefault(user, at)
    units = (users.unit(user, at, 1.0) for user, at in first.items())
    return sorted(Happened(one.at, one.unit.canary, one.unit.share) for one in units if one)


def _ranks(
    users: _Users, exposures: Iterable[Exposure], before: Sequence[Pace]
) -> dict[str, list[Timed]]:
    """Return the rank of each user's first answer among live's of the day before.

    Rank 1 means slower, or longer, than all of them; 0 the opposite.
    """
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
    """Return the share of `known` below `value`; equal values count half."""
    return (bisect_left(known, value) + bisect_right(known, value)) / (2 * len(known))


def _rate(votes: Iterable[_Cast]) -> float:
    """Return live's mean vote in the week before; 0.5 without votes."""
    values = [vote.value for vote in votes]
    mean = sum(values) / len(values) if values else 0.5
    return min(max(mean, _LEAST_RATE), _MOST_RATE)


def _sorted(units: Iterable[Timed]) -> list[Timed]:
    return sorted(units, key=lambda timed: timed.at)
