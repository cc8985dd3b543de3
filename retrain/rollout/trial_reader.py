"""Read the log of a trial, and measure its answers with the harm metrics."""

from datetime import timedelta
from functools import cached_property

from common.database import Database
from feedback.reading.comparisons import decided_comparisons
from feedback.reading.trials import (
    Pace,
    Vote,
    exposures,
    failures,
    paces_before,
    votes,
    votes_before,
)
from retrain.config import RetrainConfig
from retrain.evaluation.harms import load_harm_metric
from retrain.models import Rollout
from retrain.rollout.call_reader import CallReader
from retrain.rollout.harm_reader import HarmReader
from retrain.rollout.trial_evidence import TrialLog
from retrain.rollout.trial_settings import TrialSettings

FAILURE = "failed answer"
BROKEN_CALL = "broken tool call"
_PACES = 10_000
_WEEK, _DAY = timedelta(days=7), timedelta(days=1)


class TrialReader:
    """Reads the log of a trial; each answer is measured once per process."""

    def __init__(self, database: Database, config: RetrainConfig) -> None:
        self._database = database
        self._specs = config.evaluation.harms
        self._calls = CallReader(database)
        self._before: dict[str, tuple[list[Vote], list[Pace]]] = {}

    @cached_property
    def _harms(self) -> HarmReader:
        """Created at the first trial, since metrics are only needed then. Raises `JudgeError`."""
        metrics = {name: load_harm_metric(spec) for name, spec in self._specs.items()}
        return HarmReader(self._database, metrics)

    async def read(self, rollout: Rollout, trial: str, config: TrialSettings) -> TrialLog:
        """Return the log of `trial`, with that of live before the rollout."""
        failed = [(one.user, one.at) for one in await failures(self._database, trial)]
        votes_before, paces_before = await self._time_before(rollout, config)
        unread = not await self._harms.read(trial)
        versions = (rollout.previous, rollout.version)
        return TrialLog(
            exposures=await exposures(self._database, trial),
            votes=await votes(self._database, trial, config.votes),
            events={
                FAILURE: failed,
                BROKEN_CALL: await self._calls.read(trial),
                **self._harms.events(trial),
            },
            votes_before=votes_before,
            paces_before=paces_before,
            comparisons=await decided_comparisons(
                self._database, rollout.channel, versions, rollout.began_at
            ),
            newer=rollout.version,
            metrics=config.metrics,
            unread=unread,
        )

    async def _time_before(
        self, rollout: Rollout, config: TrialSettings
    ) -> tuple[list[Vote], list[Pace]]:
        """Return live's votes of the week and paces of the day before; cached, as they are past."""
        if rollout.version not in self._before:
            part = (rollout.channel, rollout.previous)
            end, database = rollout.began_at, self._database
            voted = await votes_before(database, *part, config.votes, end - _WEEK, end)
            paced = await paces_before(database, *part, end - _DAY, end, _PACES)
            self._before = {rollout.version: (voted, paced)}
        return self._before[rollout.version]
