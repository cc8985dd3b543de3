"""Reads a trial from the log, harm metrics included."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from feedback.comparisons import decided_comparisons
from feedback.ports import Database
from feedback.trials import (
    Pace,
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
from retrain.models import Rollout
from retrain.trial_evidence import TrialLog, User

FAILURE = "failed answer"
HARMFUL = 0.5
"""From here on a harm metric's value counts as an event."""
_PAGE = 500
_PACES = 10_000
_WEEK, _DAY = timedelta(days=7), timedelta(days=1)


@dataclass(slots=True)
class _Harms:
    """Users and moments of harmful answers so far, and where to read on."""

    seen: dict[str, list[tuple[User, datetime]]] = field(default_factory=lambda: defaultdict(list))
    after: tuple[datetime, str] | None = None


class TrialReader:
    """Gives the log of a trial; each answer is put before the harm metrics once in a process."""

    def __init__(self, database: Database, config: RetrainConfig) -> None:
        self._database = database
        self._metrics: dict[str, HarmMetric] = {
            name: load_harm_metric(spec) for name, spec in config.evaluation.harms.items()
        }
        self._harms: dict[str, _Harms] = defaultdict(_Harms)

    async def read(self, rollout: Rollout, trial: str, config: CanaryConfig) -> TrialLog:
        """What the log holds of `trial`, with live's of the time before the rollout."""
        failed = [(one.user, one.at) for one in await failures(self._database, trial)]
        versions = (rollout.previous, rollout.version)
        return TrialLog(
            exposures=await exposures(self._database, trial),
            votes=await votes(self._database, trial, config.votes),
            events={FAILURE: failed, **await self._harmful(trial)},
            votes_before=await self._votes_before(rollout, config),
            paces_before=await self._paces_before(rollout),
            comparisons=await decided_comparisons(
                self._database, rollout.channel, versions, rollout.began_at
            ),
            newer=rollout.version,
        )

    async def _votes_before(self, rollout: Rollout, config: CanaryConfig) -> Sequence[Vote]:
        began = rollout.began_at
        return await votes_before(
            self._database,
            rollout.channel,
            rollout.previous,
            config.votes,
            began - _WEEK,
            began,
        )

    async def _paces_before(self, rollout: Rollout) -> Sequence[Pace]:
        began = rollout.began_at
        return await paces_before(
            self._database, rollout.channel, rollout.previous, began - _DAY, began, _PACES
        )

    async def _harmful(self, trial: str) -> dict[str, list[tuple[User, datetime]]]:
        if not self._metrics:
            return {}
        harms = self._harms[trial]
        while True:
            answers, after = await answers_after(self._database, trial, harms.after, _PAGE)
            for answer in answers:
                await self._measure(harms, answer)
            harms.after = after
            if len(answers) < _PAGE:
                return {name: list(harms.seen[name]) for name in self._metrics}

    async def _measure(self, harms: _Harms, answer: TrialAnswer) -> None:
        conversation = answer.request.get("messages")
        if not isinstance(conversation, list):
            return
        for name, metric in self._metrics.items():
            if await measure_harm(metric, conversation, answer.text) >= HARMFUL:
                harms.seen[name].append((answer.user, answer.at))
