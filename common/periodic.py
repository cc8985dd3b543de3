"""Something done again and again, on a clock that nobody sets.

Not APScheduler's interval trigger: it keeps the next time on the wall clock, so a clock set back by
five hours has it sleep for five hours.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

PATIENCE = 10.0
"""Seconds that the work under way has to end when a ticker is told to."""

_log = structlog.get_logger()


class Ticker:
    """Does `work` at once and every `seconds` from then on, one at a time."""

    def __init__(
        self,
        name: str,
        seconds: float,
        work: Callable[[], Awaitable[object]],
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._patience = patience
        self._name = name
        self._seconds = seconds
        self._work = work
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the work is done in a task of its own."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def finish(self) -> None:
        """End once the work under way is done; what takes over `patience` seconds is cancelled.

        Work that does not even end by that is left to the loop's own end. Safe to call on one that
        was not started.
        """
        self._ended.set()
        if self._task is None or await self._has_ended(self._task):
            return
        _log.warning("tick_cancelled", ticker=self._name, after_seconds=self._patience)
        self._task.cancel()
        await self._has_ended(self._task)

    async def _has_ended(self, task: asyncio.Task[None]) -> bool:
        """Whether the task ends in time."""
        done, _ = await asyncio.wait({task}, timeout=self._patience)
        return bool(done)

    async def _run(self) -> None:
        while not self._ended.is_set():
            try:
                await self._work()
            except Exception as error:  # noqa: BLE001 - the next time may go well
                _log.error("tick_failed", ticker=self._name, error=type(error).__name__)
            try:
                async with asyncio.timeout(self._seconds):
                    await self._ended.wait()
            except TimeoutError:
                continue
