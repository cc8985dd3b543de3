"""Checks regularly whether the database answers, so that requests do not wait for a dead one."""

import asyncio
from contextlib import suppress
from typing import Protocol

import structlog

from server.database.database import Database

EVERY_SECONDS = 1.0
"""Seconds between two probes."""
PATIENCE_SECONDS = 2.0
"""Seconds without an answer to a probe after which the database counts as unavailable."""
SLICES = 20
"""Parts into which the wait for an answer is divided; see `_in_time`."""

_log = structlog.get_logger()


class WatchObserver(Protocol):
    """Receives the result of each probe."""

    def probed(self, *, answers: bool) -> None:
        """Record whether the database answered a probe."""
        ...


class DatabaseWatch:
    """Probes the database and calls `Database.disconnect` and `Database.reconnect` accordingly."""

    def __init__(
        self,
        database: Database,
        observer: WatchObserver,
        *,
        every_seconds: float = EVERY_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._database = database
        self._observer = observer
        self._every = every_seconds
        self._patience = patience_seconds
        self._answers = True
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start probing in the background."""
        self._task = asyncio.create_task(self._watch(), name="database watch")

    async def close(self) -> None:
        """Stop probing."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> None:
        """Probe once, and connect or disconnect the database according to the result."""
        error = await self._probe()
        answers = error is None
        if answers:
            self._database.reconnect()
        else:
            self._database.disconnect()
        self._observer.probed(answers=answers)
        if answers != self._answers:
            kind = None if error is None else type(error).__name__
            _log.warning("database_watch", answers=answers, error=kind)
        self._answers = answers

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001  (only a later probe can reconnect)
                _log.error("database_watch_failed", error=type(error).__name__)
            await asyncio.sleep(self._every)

    async def _probe(self) -> BaseException | None:
        """Probe once and return the error; cutting the connection ends an unanswered probe."""
        probe = asyncio.ensure_future(self._database.ping())
        try:
            if await self._in_time(probe):
                return probe.exception()
            self._database.disconnect()
            return TimeoutError()
        finally:
            if not probe.done():
                probe.cancel()
                await asyncio.wait({probe})

    async def _in_time(self, probe: asyncio.Future[None]) -> bool:
        """Wait for the probe; return whether it finished within the timeout.

        While the event loop is blocked (an engine's imports, for example) no answer can be
        processed. Such a block uses up one slice of the timeout, however long it lasts.
        """
        for _ in range(SLICES):
            await asyncio.wait({probe}, timeout=self._patience / SLICES)
            if probe.done():
                return True
        return False
