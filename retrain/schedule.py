"""The schedule: start due runs, and resume interrupted ones.

Which weekly run is due is a pure function of the cron expression (parsed by APScheduler) and the
clock. A unique row in the database decides which server starts it. So several schedulers, late
ticks and clock changes do no harm. All times are in UTC, without daylight saving time.

With `when = "enough"`, runs also start on enough fresh feedback (`retrain.enough`). A start is
decided on a number of earlier runs and refused if there are more by then, so several schedulers
start one there, too.
"""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from time import monotonic

import structlog
from sqlalchemy.exc import SQLAlchemyError

from common.periodic import Ticker
from retrain.config import RetrainConfig
from retrain.cron import Trigger, cron_trigger
from retrain.enough import Situation, is_enough, may_start
from retrain.errors import RunInProgressError, SlotTakenError
from retrain.ports import Clock
from retrain.repository import RunRepository
from retrain.service import RunService
from retrain.slots import EVIDENCE, SCHEDULED, slot_of

_LOOK_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=8))
"""Periods to search for the last time the trigger fired, from short to long, to save time."""

_SLOW_SECONDS = 0.5
"""Seconds from which on a count of fresh votes is slow."""
_PAUSE_FACTOR = 20
"""After a slow count, votes are not counted again for this many times its duration."""

_log = structlog.get_logger()


def due_time(trigger: Trigger, now: datetime, grace: timedelta) -> datetime | None:
    """Return the last time the trigger fired, at most `grace` before `now`, or None.

    Earlier missed times are skipped.
    """
    for back in (*(step for step in _LOOK_BACK if step < grace), grace):
        fired = list(_fire_times(trigger, now - back, now))
        if fired:
            return fired[-1]
    return None


def _fire_times(trigger: Trigger, after: datetime, until: datetime) -> Iterator[datetime]:
    moment = after + timedelta(microseconds=1)
    while (fired := trigger.get_next_fire_time(None, moment)) is not None and fired <= until:
        yield fired
        moment = fired + timedelta(microseconds=1)


class Schedule:
    """Starts the due run of each channel, and resumes interrupted runs of other processes."""

    def __init__(
        self, service: RunService, runs: RunRepository, config: RetrainConfig, clock: Clock
    ) -> None:
        self._service = service
        self._runs = runs
        self._clock = clock
        self._config = config
        self._uncounted_until: dict[str, float] = {}
        self._trigger = cron_trigger(config.cron)
        # Separate, so that a rollout with a large log does not delay the resumption of runs.
        self._tickers = (
            Ticker("runs", config.poll_seconds, self.tick),
            Ticker("rollouts", config.rollout_seconds, service.rollouts.tick),
        )

    def start(self) -> None:
        """Tick now, and every `poll_seconds` (`rollout_seconds`) from then on."""
        for ticker in self._tickers:
            ticker.start()

    async def finish(self) -> None:
        """Stop ticking, after the current ticks have ended or were cancelled; runs continue."""
        await asyncio.gather(*(ticker.finish() for ticker in self._tickers))

    async def tick(self) -> list[str]:
        """Resume interrupted runs and start due ones; return the ids of started runs."""
        try:
            await self._service.resume()
            return await self._start_all() if self._config.enabled else []
        except SQLAlchemyError as error:  # the database is unreachable: retry at the next tick
            _log.warning("schedule_interrupted", error=type(error).__name__)
            return []

    async def _start_all(self) -> list[str]:
        started = await self._start_due()
        if self._config.when == "enough":
            started += await self._start_on_evidence()
        return started

    async def _start_due(self) -> list[str]:
        now = self._clock()
        fired = due_time(self._trigger, now, timedelta(days=self._config.catch_up_days))
        if fired is None:
            return []
        started = []
        for channel in await self._runs.channels():
            # A channel that was created later has missed nothing.
            if channel.created_at <= fired:
                started += await self._claim(channel.name, slot_of(fired))
        return started

    async def _claim(self, channel: str, slot: str) -> list[str]:
        if await self._service.slot_taken(channel, slot):
            return []
        known = None
        if self._config.when == "enough":
            known = await self._may_start(channel)
            if known is None:
                return []  # claimed at a later tick
        return await self._start(channel, slot, SCHEDULED, known)

    async def _start_on_evidence(self) -> list[str]:
        started = []
        for channel in await self._runs.channels():
            known = await self._may_start(channel.name)
            if known is not None and await self._has_enough(channel.name):
                slot = slot_of(self._clock())
                started += await self._start(channel.name, slot, EVIDENCE, known)
        return started

    async def _may_start(self, channel: str) -> int | None:
        """Return the number of the channel's runs so far; None if no other may start now."""
        now, hours = self._clock(), self._config.enough.hours
        starts = await self._runs.starts(channel, now + timedelta(hours=hours))
        rolling_out = await self._service.rollouts.under_way(channel) is not None
        situation = Situation(starts.last, rolling_out)
        return starts.count if may_start(situation, hours, now) else None

    async def _has_enough(self, channel: str) -> bool:
        """Count the channel's fresh votes, and after a slow count pause for a multiple of it."""
        began = monotonic()
        if began < self._uncounted_until.get(channel, 0.0):
            return False
        votes = await self._service.fresh_votes(channel)
        ended = monotonic()
        if ended - began > _SLOW_SECONDS:
            self._uncounted_until[channel] = ended + _PAUSE_FACTOR * (ended - began)
        return is_enough(votes, self._config.enough)

    async def _start(
        self, channel: str, slot: str, trigger: str, known: int | None = None
    ) -> list[str]:
        if await self._runs.running():
            return []  # channels take turns: two trainers on one machine starve each other
        try:
            return [(await self._service.start_run(channel, slot, trigger, known)).id]
        except (SlotTakenError, RunInProgressError):
            return []
