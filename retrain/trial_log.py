"""Reads a trial from the log, harm metrics included."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from feedback.comparisons import decided_comparisons
from feedback.ports import Database
from feedback.trials import (
    Pace,
    Place,
    TrialAnswer,
    Vote,
    answers_after,
    exposures,
    failures,
    paces_before,
    votes,
    votes_before,
)
from retrain.canary_config import CanaryConfig
from retrain.config import RetrainConfig
from retrain.harms import HarmMetric, load_harm_metric, measure_harm
from retrain.judges import JudgeError
from retrain.models import Rollout
from retrain.trial_evidence import TrialLog, User

FAILURE = "failed answer"
HARMFUL = 0.5
"""From here on a harm metric's value counts as an event."""
_PAGE = 500
_PACES = 10_000
_WEEK, _DAY = timedelta(days=7), timedelta(days=1)
_LATE = timedelta(minutes=15)
"""An answer is placed in the log by when it was asked for: one that took long comes in late."""
_READING_SECONDS = 10.0
"""So long one tick puts answers before the harm metrics; the rest waits for the next."""

_log = structlog.get_logger()


@dataclass(slots=True)
class _Harms:
    """Users and moments of harmful answers so far, where to read on, and what was read lately."""

    seen: dict[str, list[tuple[User, datetime]]] = field(default_factory=lambda: defaultdict(list))
    after: Place | None = None
    read: dict[str, datetime] = field(default_factory=dict)

    def back(self) -> Place | None:
        """Where to begin: a while before the last answer that was read."""
        return None if self.after is None else (self.after[0] - _LATE, "")

    def forget(self) -> None:
        """Drop what will not be read again."""
        if self.after is not None:
            begin = self.after[0] - _LATE
            self.read = {name: at for name, at in self.read.items() if at >= begin}


class TrialReader:
    """Gives the log of a trial; each answer is put before the harm metrics once in a process."""

    def __init__(self, database: Database, config: RetrainConfig) -> None:
        self._database = database
        self._metrics: dict[str, HarmMetric] = {
            name: load_harm_metric(spec) for name, spec in config.evaluation.harms.items()
        }
        self._harms: dict[str, _Harms] = defaultdict(_Harms)
        self._before: dict[str, tuple[list[Vote], list[Pace]]] = {}

    async def read(self, rollout: Rollout, trial: str, config: CanaryConfig) -> TrialLog:
        """What the log holds of `trial`, with live's of the time before the rollout."""
        failed = [(one.user, one.at) for one in await failures(self._database, trial)]
        votes_before, paces_before = await self._time_before(rollout, config)
        unread = bool(self._metrics) and not await self._measured(trial)
        harms = {name: sorted(self._harms[trial].seen[name], key=_moment) for name in self._metrics}
        versions = (rollout.previous, rollout.version)
        return TrialLog(
            exposures=await exposures(self._database, trial),
            votes=await votes(self._database, trial, config.votes),
            events={FAILURE: failed, **harms},
            votes_before=votes_before,
            paces_before=paces_before,
            comparisons=await decided_comparisons(
                self._database, rollout.channel, versions, rollout.began_at
            ),
            newer=rollout.version,
            unread=unread,
        )

    async def _time_before(
        self, rollout: Rollout, config: CanaryConfig
    ) -> tuple[list[Vote], list[Pace]]:
        """Live's votes of the week and paces of the day before: what was, and changes no more."""
        if rollout.version not in self._before:
            part = (rollout.channel, rollout.previous)
            end, database = rollout.began_at, self._database
            voted = await votes_before(database, *part, config.votes, end - _WEEK, end)
            paced = await paces_before(database, *part, end - _DAY, end, _PACES)
            self._before = {rollout.version: (voted, paced)}
        return self._before[rollout.version]

    async def _measured(self, trial: str) -> bool:
        """Put new answers before the harm metrics; whether all of them have been."""
        harms, clock = self._harms[trial], asyncio.get_running_loop().time
        place, until = harms.back(), clock() + _READING_SECONDS
        while True:
            answers, place = await answers_after(self._database, trial, place, _PAGE)
            for answer in answers:
                if clock() > until or not await self._measure(harms, answer):
                    return False
            harms.after = max(harms.after or place, place) if place else harms.after
            harms.forget()
            if len(answers) < _PAGE:
                return True

    async def _measure(self, harms: _Harms, answer: TrialAnswer) -> bool:
        """Put an answer before the metrics, once; whether they gave an answer themselves."""
        conversation = answer.request.get("messages")
        if answer.id in harms.read or not isinstance(conversation, list):
            return True
        try:
            found = [
                name
                for name, metric in self._metrics.items()
                if await measure_harm(metric, conversation, answer.text) >= HARMFUL
            ]
        except JudgeError as error:  # the answer is put before them again at the next tick
            _log.warning("harm_metric_failed", error=str(error))
            return False
        harms.read[answer.id] = answer.at
        for name in found:
            harms.seen[name].append((answer.user, answer.at))
        return True


def _moment(event: tuple[User, datetime]) -> datetime:
    return event[1]
