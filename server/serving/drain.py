"""Graceful shutdown: refuse new work, let streams finish until a deadline, then end them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LAST_EVENTS_SECONDS = 3
"""Seconds after the deadline, or after the engine's death, for sending the final error events."""


class Drain:
    """State of the shutdown: whether it has started, its deadline and the requests in flight.

    Args:
        seconds: Time that requests in flight get to finish. Work that `yields` (evaluations of
            weekly runs, for which no client waits) ends as soon as the drain starts.

    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline: float | None = None
        self._open: dict[asyncio.Timeout, bool] = {}
        self._held = 0
        self._finished = asyncio.Event()

    @property
    def draining(self) -> bool:
        """Whether the drain has started."""
        return self._deadline is not None

    @property
    def open_requests(self) -> int:
        """Number of requests in flight."""
        return self._held

    def begin(self) -> None:
        """Start the drain; a second call moves its deadline to now."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._deadline = now if self.draining else now + self._seconds
        for timeout, yields in self._open.items():
            if not timeout.expired():  # an expired timeout cannot be rescheduled
                timeout.reschedule(now if yields else self._deadline)
        loop.call_at(self._deadline + LAST_EVENTS_SECONDS, self._finished.set)
        self._check_finished()

    async def finished(self) -> None:
        """Wait until draining has started and no request is in flight.

        Returns `LAST_EVENTS_SECONDS` after the deadline at the latest, which leaves time to send
        the final error events.
        """
        await self._finished.wait()

    def hold(self) -> None:
        """Count a new request in flight; the caller must `release` it."""
        self._held += 1

    def release(self) -> None:
        """Stop counting a request that has ended."""
        self._held -= 1
        self._check_finished()

    def _check_finished(self) -> None:
        if self.draining and not self._held:
            self._finished.set()

    @asynccontextmanager
    async def bounded(self, *, yields: bool = False) -> AsyncIterator[None]:
        """Raise `TimeoutError` in the block when the drain's deadline passes.

        One timeout covers the whole block, so a stream pays nothing for it per token. With `yields`
        the block ends as soon as the drain starts.
        """
        at_once = yields and self.draining
        when = asyncio.get_running_loop().time() if at_once else self._deadline
        async with asyncio.timeout_at(when) as timeout:
            self._open[timeout] = yields
            try:
                yield
            finally:
                del self._open[timeout]
