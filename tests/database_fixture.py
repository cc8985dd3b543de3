"""A database for tests: one SQLite file with the tables of all rooms, set up as the server's is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

import adapters.models  # noqa: F401  (all rooms' tables are registered by these imports)
import feedback.models  # noqa: F401
import retrain.models  # noqa: F401


class SqliteDatabase:
    """`feedback.ports.Database` and `adapters.ports.Database` over one file; close it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        async with (
            self._turn,
            AsyncSession(self.engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    async def close(self) -> None:
        await self.engine.dispose()


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own transactions begin too late
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN")


async def make_database(folder: Path) -> SqliteDatabase:
    """A new database in `folder`, with all tables."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{folder / 'pawl.sqlite'}")
    event.listen(engine.sync_engine, "connect", _on_connect)
    event.listen(engine.sync_engine, "begin", _on_begin)
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    return SqliteDatabase(engine)
