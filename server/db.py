"""The database: one writer at a time, readers in short sessions.

SQLite runs in WAL mode with `synchronous=FULL`: each commit is synced before it returns. SQLite
before 3.51.3 has a rare corruption when several connections write at once, so all writing waits for
one turn, and readers are opened `query_only`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

Result = TypeVar("Result")

BUSY_TIMEOUT_MS = 5000
READERS = 4


def sqlite_url(path: Path) -> str:
    """The address of the SQLite database in the file `path`."""
    return f"sqlite+aiosqlite:///{path}"


class Database:
    """Sessions on one database. Satisfies the `Database` ports of the rooms."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self._turn = asyncio.Lock()
        self._writer = _engine(url, pool_size=1, query_only=False)
        self._reader = _engine(url, pool_size=READERS, query_only=True)
        self._direct = _direct_engine(self.url)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pawl-writer")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session for reading; close it before tokens stream."""
        async with AsyncSession(self._reader, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A transaction: waits for its turn, commits durably on exit, rolls back on error."""
        async with (
            self._turn,
            AsyncSession(self._writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    async def transaction(self, work: Callable[[Connection], Result]) -> Result:
        """Do `work` in a transaction in the writer's thread: one change of threads in all.

        Through the asynchronous driver each query costs several, which the log cannot afford. A
        caller that is cancelled leaves the transaction to end by itself, and the turn with it.
        """
        return await asyncio.shield(asyncio.ensure_future(self._in_thread(work)))

    async def _in_thread(self, work: Callable[[Connection], Result]) -> Result:
        loop = asyncio.get_running_loop()
        async with self._turn:
            return await loop.run_in_executor(self._thread, _transact, self._direct, work)

    async def ping(self) -> None:
        """Raise what the driver raises when the database does not answer."""
        async with self.read() as session:
            await session.exec(select(1))

    async def close(self) -> None:
        """Close all connections, once what is being written has ended."""
        await asyncio.to_thread(self._thread.shutdown)
        self._direct.dispose()
        await self._writer.dispose()
        await self._reader.dispose()


def _engine(url: str, *, pool_size: int, query_only: bool) -> AsyncEngine:
    engine = create_async_engine(
        url, pool_size=pool_size, max_overflow=0, pool_timeout=30, hide_parameters=True
    )
    if engine.dialect.name == "sqlite":
        _configure_sqlite(engine.sync_engine, query_only=query_only)
    return engine


def _direct_engine(url: URL) -> Engine:
    """For the writer's thread: the same database through its synchronous driver."""
    if url.get_backend_name() == "sqlite":
        url = url.set(drivername="sqlite")
    engine = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=30, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        _configure_sqlite(engine, query_only=False)
    return engine


def _transact(engine: Engine, work: Callable[[Connection], Result]) -> Result:
    with engine.begin() as connection:
        return work(connection)


def _configure_sqlite(engine: Engine, *, query_only: bool) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # The driver's own transaction control begins too late (after the first SELECT): we begin.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=FULL")
        if query_only:
            cursor.execute("PRAGMA query_only=ON")
        else:
            cursor.execute("PRAGMA journal_mode=WAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN" if query_only else "BEGIN IMMEDIATE")
