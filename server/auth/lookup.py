"""Looks up keys that are not cached, with a bounded number of queries for many wrong keys.

A request with an unknown key waits for a query that starts after its arrival; concurrent requests
share that query. A key that was not found is then refused without a query. If it is created later,
the regular refresh of the cache finds it within seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable

PAUSE_SECONDS = 0.25
"""Minimum seconds between the end of one query and the start of the next."""
REMEMBERED = 10_000
"""Maximum number of unknown keys that are remembered."""


class KeyLookup:
    """Shares refreshes of the key cache among requests with unknown keys.

    Args:
        refresh: Reads all keys into the cache, or raises.
        current: Returns whether the last refresh succeeded.
        pause_seconds: Minimum seconds between two refreshes.

    """

    def __init__(
        self,
        refresh: Callable[[], Awaitable[None]],
        current: Callable[[], bool],
        *,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._refresh = refresh
        self._current = current
        self._pause = pause_seconds
        self._next: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._free_at = 0.0
        self._unknown: dict[str, None] = {}

    async def look(self, hashed: str) -> None:
        """Wait until the cache is newer than this call, unless the key is known to be unknown.

        Raises what `refresh` raises.

        Args:
            hashed: The key's hash.

        """
        if self._current() and hashed in self._unknown:
            return
        if self._next is None:
            self._next = asyncio.create_task(self._query(), name="key lookup")
        await asyncio.shield(self._next)
        self._remember(hashed)

    async def _query(self) -> None:
        """Run the next query; calls that arrive after its start need another one."""
        loop = asyncio.get_running_loop()
        async with self._turn:  # one query at once: a slow database's connections are scarce
            await asyncio.sleep(max(self._free_at - loop.time(), 0))
            self._next = None
            try:
                await self._refresh()
            finally:
                self._free_at = loop.time() + self._pause

    def _remember(self, hashed: str) -> None:
        """Remember a looked-up key; if it exists, the cache finds it before this is consulted."""
        self._unknown.pop(hashed, None)
        self._unknown[hashed] = None
        if len(self._unknown) > REMEMBERED:
            del self._unknown[next(iter(self._unknown))]
