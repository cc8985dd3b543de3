"""Runs work periodically, timed by the event loop's monotonic clock.

APScheduler's interval trigger is not used: it stores the next run time on the wall clock, so it
would sleep for five hours if the clock were set back by five hours.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

PATIENCE = 10.0
"""Seconds that `Ticker.finish` waits for running work before it cancels it."""

_log = structlog.get_logger()


class Ticker:
    """Runs `work` at once and again `seconds` after each run ends; runs never overlap.

    An exception from `work` is logged, and the next run takes place as usual.
    """

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
        """Start running the work in a task of its own."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def finish(self) -> None:
        """Stop after the running work ends; work that takes over `patience` seconds is cancelled.

        Work that ignores its cancellation is left to the end of the event loop. Safe to call on a
        ticker that was not started.
        """
        self._ended.set()
        if self._task is None or await self._has_ended(self._task):
            return
        _log.warning("tick_cancelled", ticker=self._name, after_seconds=self._patience)
        self._task.cancel()
        await self._has_ended(self._task)

    async def _has_ended(self, task: asyncio.Task[None]) -> bool:
        """Return whether the task ends within `patience` seconds."""
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
