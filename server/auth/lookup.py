"""Looks keys up that are not cached, so that many wrong keys do not become many queries.

Whoever brings an unknown key waits for a query that begins after it came; all who come meanwhile
share it. A key that was not found is refused at once from then on: the cache is read anew every few
seconds, and then has it if somebody made it meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable

PAUSE_SECONDS = 0.25
"""At least so long between the end of one query and the begin of the next."""
REMEMBERED = 10_000


class KeyLookup:
    """`refresh` reads all keys into the cache, or raises; `current`: whether it last succeeded."""

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
        """Return once the cache is as new as this request, unless the key is known to be none.

        Raises what `refresh` raises.
        """
        if self._current() and hashed in self._unknown:
            return
        if self._next is None:
            self._next = asyncio.create_task(self._query(), name="key lookup")
        await asyncio.shield(self._next)
        self._remember(hashed)

    async def _query(self) -> None:
        """Wait for the turn of the next query and make it; later comers then need another one."""
        loop = asyncio.get_running_loop()
        async with self._turn:  # one at a time: a slow database keeps its connections for others
            await asyncio.sleep(max(self._free_at - loop.time(), 0))
            self._next = None
            try:
                await self._refresh()
            finally:
                self._free_at = loop.time() + self._pause

    def _remember(self, hashed: str) -> None:
        """Keep what was asked for: where it became known, the cache answers before this does."""
        self._unknown.pop(hashed, None)
        self._unknown[hashed] = None
        if len(self._unknown) > REMEMBERED:
            del self._unknown[next(iter(self._unknown))]
