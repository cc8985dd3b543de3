"""The part of startup that needs the database: run at once, or deferred until it is available."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import structlog
from sqlalchemy.exc import SQLAlchemyError

from adapters.errors import AdaptersError
from server.errors import ServerError

RETRY_SECONDS = 1.0
"""Seconds between two attempts of the deferred work."""

_log = structlog.get_logger()

Work = Callable[[AsyncExitStack], Awaitable[None]]
"""Starts services and registers their shutdown on the stack."""


class DeferredStartup:
    """Runs `work`, at once or in the background when the database is available again."""

    def __init__(self) -> None:
        self.work: Work = _nothing
        self._stack = AsyncExitStack()
        self._task: asyncio.Task[None] | None = None
        self.done = False

    async def now(self) -> None:
        """Run the work; raises what it raises."""
        await self.work(self._stack)
        self.done = True

    async def later(self, prepare: Callable[[], Awaitable[object]]) -> None:
        """Run the work in the background, once `prepare` succeeds."""
        self._task = asyncio.create_task(self._apply_deferred(prepare), name="deferred startup")

    async def close(self) -> None:
        """Cancel the work if it is pending, and shut down what it started."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._stack.aclose()

    async def _apply_deferred(self, prepare: Callable[[], Awaitable[object]]) -> None:
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
    """Do nothing: the default work."""
