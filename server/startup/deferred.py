"""The part of a start that needs the database: done at once, or later in the background."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import structlog
from sqlalchemy.exc import SQLAlchemyError

from adapters.errors import AdaptersError
from server.errors import ServerError

RETRY_SECONDS = 1.0

_log = structlog.get_logger()

Work = Callable[[AsyncExitStack], Awaitable[None]]
"""Starts things that the stack ends."""


class DeferredStartup:
    """The rest of a start: at once, or in the background as soon as the database is there."""

    def __init__(self) -> None:
        self.work: Work = _nothing
        self._stack = AsyncExitStack()
        self._task: asyncio.Task[None] | None = None
        self.done = False

    async def now(self) -> None:
        """Do it; raises what it raises."""
        await self.work(self._stack)
        self.done = True

    async def later(self, prepare: Callable[[], Awaitable[object]]) -> None:
        """Do it once `prepare` succeeds."""
        self._task = asyncio.create_task(self._make_up(prepare), name="rest of the start")

    async def close(self) -> None:
        """End what it started."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._stack.aclose()

    async def _make_up(self, prepare: Callable[[], Awaitable[object]]) -> None:
        while not self.done:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await prepare()
                await self.now()
            except (OSError, SQLAlchemyError, AdaptersError, ServerError) as error:
                await self._stack.aclose()
                _log.warning("start_not_made_up", error=type(error).__name__)
        _log.info("start_made_up")


async def _nothing(_stack: AsyncExitStack) -> None:
    """Until there is work."""
