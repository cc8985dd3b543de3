"""The end of a server: no new work, streams go on until a deadline, then they are told so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Drain:
    """Knows whether the server is ending, and when what still runs must end."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline: float | None = None
        self._open: set[asyncio.Timeout] = set()
        self._over = asyncio.Event()

    @property
    def draining(self) -> bool:
        """Whether the end has begun."""
        return self._deadline is not None

    @property
    def open_requests(self) -> int:
        """Requests that are being answered."""
        return len(self._open)

    def begin(self) -> None:
        """Begin the end; called again, it ends at once."""
        now = asyncio.get_running_loop().time()
        self._deadline = now if self.draining else now + self._seconds
        for timeout in self._open:
            timeout.reschedule(self._deadline)
        self._note_end()

    async def over(self) -> None:
        """Return once the end has begun and no request is being answered any more."""
        await self._over.wait()

    def _note_end(self) -> None:
        if self.draining and not self._open:
            self._over.set()

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Raise TimeoutError in the body when the deadline passes. Costs nothing a token."""
        async with asyncio.timeout_at(self._deadline) as timeout:
            self._open.add(timeout)
            try:
                yield
            finally:
                self._open.discard(timeout)
                self._note_end()
