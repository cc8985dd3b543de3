"""The database, SQLite or PostgreSQL: write transactions are serialised, reads run concurrently.

The differences are in `server.database.sqlite` and `server.database.postgres`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from server.database import postgres
from server.database.address import sqlite_url
from server.database.errors import DatabaseAwayError
from server.database.postgres import check_postgres, open_postgres
from server.database.sqlite import check_sqlite, open_sqlite
from server.database.statistics import renew_statistics
from server.errors import SetupError

__all__ = ["Database", "database_address", "sqlite_url"]

Result = TypeVar("Result")

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": postgres.DRIVER,
    "postgresql": postgres.DRIVER,
    postgres.DRIVER: postgres.DRIVER,
}


def database_address(url: str) -> URL:
    """Parse an address and set the driver that Pawl uses; the result's `str()` hides the password.

    Raises:
        SetupError: If it is no address, or of a database other than SQLite and PostgreSQL.

    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        raise SetupError(
            "database_url is no address: write postgresql://user:password@host/database"
        ) from None
    if address.drivername not in _DRIVERS:
        raise SetupError(
            f"database_url names {address.drivername}: Pawl keeps its data in SQLite "
            "(sqlite:///path) or PostgreSQL (postgresql://user:password@host/database)"
        )
    return address.set(drivername=_DRIVERS[address.drivername])


def check_address(url: str, data_dir: Path) -> None:
    """Raise `SetupError` for an address that can never work, without connecting to it."""
    address = database_address(url)
    if address.get_backend_name() == "sqlite":
        check_sqlite(address, data_dir)
    else:
        check_postgres(address)


class Database:
    """Sessions and transactions on one database. Implements `common.database.Database`."""

    def __init__(self, url: str) -> None:
        self.url = database_address(url)
        sqlite = self.url.get_backend_name() == "sqlite"
        self._engines = open_sqlite(self.url) if sqlite else open_postgres(self.url)
        self._turn = asyncio.Lock()
        self._away = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pawl-writer")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Open a read-only session; close it before an answer is streamed."""
        self._check_there()
        with self._watching():
            async with AsyncSession(self._engines.reader, expire_on_commit=False) as session:
                yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """Open a write transaction once other writers are done.

        Commits durably at the end of the block, or rolls back if the block raises.
        """
        self._check_there()
        with self._watching():
            async with (
                self._turn,
                AsyncSession(self._engines.writer, expire_on_commit=False) as session,
                session.begin(),
            ):
                yield session

    async def transaction(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a transaction on the writer thread, and return its result.

        This costs one thread switch in all; the asynchronous driver needs several per query, which
        is too slow for the log. If the caller is cancelled, the transaction still runs to its end
        and only then releases the write lock.
        """
        self._check_there()
        task = asyncio.ensure_future(self._in_thread(work))
        task.add_done_callback(_mark_as_read)  # its caller may be gone when it fails
        return await asyncio.shield(task)

    async def _in_thread(self, work: Callable[[Connection], Result]) -> Result:
        loop = asyncio.get_running_loop()
        with self._watching():
            async with self._turn if self._engines.one_turn else nullcontext():
                direct = self._engines.direct
                return await loop.run_in_executor(self._thread, _transact, direct, work)

    def _watching(self) -> AbstractContextManager[None]:
        silence = self._engines.silence
        return nullcontext() if silence is None else silence.watching()

    async def ping(self) -> None:
        """Query the database on the probe connection; raises the driver's errors."""
        async with AsyncSession(self._engines.probe) as session:
            await session.exec(select(1))

    async def renew_statistics(self) -> None:
        """Update the query planner's statistics."""
        await self.transaction(renew_statistics)

    @property
    def away(self) -> bool:
        """Whether the database is unavailable: new sessions raise `DatabaseAwayError` at once."""
        return self._away

    def disconnect(self) -> None:
        """Refuse new sessions and cut the connections of those that wait for an answer."""
        self._away = True
        self._cut()

    def reconnect(self) -> None:
        """Accept sessions again."""
        self._away = False

    def _cut(self) -> None:
        if self._engines.silence is not None:
            self._engines.silence.cut()

    def _check_there(self) -> None:
        if self._away:
            raise DatabaseAwayError

    async def close(self) -> None:
        """Wait for the writer thread, then close all connections."""
        if self._away:
            self._cut()
        await asyncio.to_thread(self._thread.shutdown)
        await self._engines.dispose()


def _mark_as_read(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


def _transact(engine: Engine, work: Callable[[Connection], Result]) -> Result:
    with engine.begin() as connection:
        return work(connection)
