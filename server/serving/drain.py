"""The end of a server: no new work, streams go on until a deadline, then they are told so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LAST_EVENTS_SECONDS = 3
"""After the deadline, or the engine's death, error events get so long to leave."""


class Drain:
    """Knows whether the server is ending, and when what still runs must end.

    Work that `yields` (our own evaluations: nobody waits for them) ends as soon as the end begins.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline: float | None = None
        self._open: dict[asyncio.Timeout, bool] = {}
        self._held = 0
        self._over = asyncio.Event()

    @property
    def draining(self) -> bool:
        """Whether the end has begun."""
        return self._deadline is not None

    @property
    def open_requests(self) -> int:
        """Requests that are being answered."""
        return self._held

    def begin(self) -> None:
        """Begin the end; called again, it ends at once."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._deadline = now if self.draining else now + self._seconds
        for timeout, yields in self._open.items():
            if not timeout.expired():  # else its request is on its way out, and it cannot be moved
                timeout.reschedule(now if yields else self._deadline)
        loop.call_at(self._deadline + LAST_EVENTS_SECONDS, self._over.set)
        self._note_end()

    async def over(self) -> None:
        """Return once the end has begun and no request is held, a while after the deadline anyhow.

        The while is what the last error events get to leave.
        """
        await self._over.wait()

    def hold(self) -> None:
        """A request has begun: the end waits for it, until `let_go`."""
        self._held += 1

    def let_go(self) -> None:
        """It has ended."""
        self._held -= 1
        self._note_end()

    def _note_end(self) -> None:
        if self.draining and not self._held:
            self._over.set()

    @asynccontextmanager
    async def bounded(self, *, yields: bool = False) -> AsyncIterator[None]:
        """Raise TimeoutError in the body when the deadline passes. Costs nothing a token."""
        at_once = yields and self.draining
        when = asyncio.get_running_loop().time() if at_once else self._deadline
        async with asyncio.timeout_at(when) as timeout:
            self._open[timeout] = yields
            try:
                yield
            finally:
                del self._open[timeout]
