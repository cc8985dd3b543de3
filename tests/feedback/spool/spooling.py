"""A recorder with a spool, over a real database that can be made to fail."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from common.database import Database, Result
from feedback.config import FeedbackConfig
from feedback.ports import RecorderObserver, SpoolObserver
from feedback.recorder.forwarder import Forwarder
from feedback.recorder.recorder import Recorder
from feedback.service import FeedbackService
from feedback.spool.spool import Spool
from tests.feedback.examples import IDS, NOW, TOKENS

QUICK = FeedbackConfig(
    retry_seconds=0.001, retry_seconds_max=0.002, database_seconds=30, acknowledge_seconds=30
)
HASTY = QUICK.model_copy(update={"database_seconds": 0.05})
"""Settings that give up a transaction quickly, for a database that hangs."""


class FlakyDatabase:
    """A real database that fails while `away`; while `silent` it commits but never returns."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.read = database.read
        self.write = database.write
        self.away = False
        self.silent = False
        self.tried = asyncio.Event()

    async def transaction(self, work: Callable[[Connection], Result]) -> Result:
        if self.away:
            self.tried.set()
            raise OperationalError("", {}, sqlite3.OperationalError("database is locked"))
        result = await self._database.transaction(work)
        while self.silent:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return result


@dataclass
class SpoolListener(SpoolObserver):
    """Records all calls about the spool."""

    rows: int = 0
    spooled_rows: int = 0
    forwarded_rows: int = 0
    refusals: list[str] = field(default_factory=list)

    def spool_size(self, rows: int, size_bytes: int) -> None:  # noqa: ARG002
        self.rows = rows

    def spooled(self, rows: int) -> None:
        self.spooled_rows += rows

    def forwarded(self, rows: int) -> None:
        self.forwarded_rows += rows

    def refused(self, reason: str) -> None:
        self.refusals.append(reason)


@dataclass
class Spooling:
    """All parts of a log with a spool."""

    database: FlakyDatabase
    spool: Spool
    forwarder: Forwarder
    recorder: Recorder
    service: FeedbackService
    heard: SpoolListener

    async def caught_up(self) -> None:
        """Wait until the spool is empty and new rows go to the database again."""
        async with asyncio.timeout(30):
            while self.forwarder.behind or self.recorder.depth:  # noqa: ASYNC110
                await asyncio.sleep(0.001)


def spool_path(folder: Path) -> Path:
    return folder / "spool" / "spool.db"


@asynccontextmanager
async def spooling(
    database: Database,
    folder: Path,
    config: FeedbackConfig = QUICK,
    *,
    away: bool = False,
    recorded: RecorderObserver | None = None,
) -> AsyncIterator[Spooling]:
    """Start a log with its spool in `folder`; rows still spooled at the end stay there."""
    flaky, heard = FlakyDatabase(database), SpoolListener()
    flaky.away = away
    observer = recorded or RecorderObserver()
    spool = Spool(spool_path(folder), config.spool_max_bytes)
    forwarder = Forwarder(flaky, spool, config, lambda: NOW, observer, heard)
    recorder = Recorder(flaky, config, observer, forwarder)
    await forwarder.start()
    await recorder.start()
    service = FeedbackService(flaky, recorder, IDS, TOKENS, config, lambda: NOW)
    try:
        yield Spooling(flaky, spool, forwarder, recorder, service, heard)
    finally:
        await recorder.close()
        await forwarder.close()


def looked_at(folder: Path, query: str) -> list[Any]:
    """Return the result of a query on the spool from another connection."""
    with closing(sqlite3.connect(spool_path(folder))) as connection:
        return connection.execute(query).fetchall()
