"""Asks the database all the time whether it answers, so that nobody waits for one that does not."""

import asyncio
from contextlib import suppress
from typing import Protocol

import structlog

from server.database.database import Database

EVERY_SECONDS = 1.0
PATIENCE_SECONDS = 2.0
"""A database that has not answered a question for so long is away."""
SLICES = 20

_log = structlog.get_logger()


class WatchObserver(Protocol):
    """Hears what came of each question."""

    def probed(self, *, answers: bool) -> None:
        """The database was asked whether it is there."""
        ...


class DatabaseWatch:
    """Tells the database when it is away (`Database.leave`) and when it is back."""

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
        """Begin to ask."""
        self._task = asyncio.create_task(self._watch(), name="database watch")

    async def close(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> None:
        """Ask once, and tell the database what came of it."""
        error = await self._ask()
        answers = error is None
        if answers:
            self._database.come_back()
        else:
            self._database.leave()
        self._observer.probed(answers=answers)
        if answers != self._answers:
            kind = None if error is None else type(error).__name__
            _log.warning("database_watch", answers=answers, error=kind)
        self._answers = answers

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001  (only a later look says that it is back)
                _log.error("database_watch_failed", error=type(error).__name__)
            await asyncio.sleep(self._every)

    async def _ask(self) -> BaseException | None:
        """What went wrong. A question without an answer ends when its connection is cut."""
        question = asyncio.ensure_future(self._database.ping())
        try:
            if await self._in_time(question):
                return question.exception()
            self._database.leave()
            return TimeoutError()
        finally:
            if not question.done():
                question.cancel()
                await asyncio.wait({question})

    async def _in_time(self, question: asyncio.Future[None]) -> bool:
        """Whether the answer came while there was patience.

        An event loop that is held up, as by the imports of an engine that starts, hears no answer:
        that takes one slice of the patience, however long it lasts.
        """
        for _ in range(SLICES):
            await asyncio.wait({question}, timeout=self._patience / SLICES)
            if question.done():
                return True
        return False
