"""The database as the rooms see it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from server.db import Database, sqlite_url

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A table of words."""
    made = Database(sqlite_url(tmp_path / "db.sqlite"))
    await made.transaction(lambda at: at.execute(text("CREATE TABLE word (said TEXT NOT NULL)")))
    yield made
    await made.close()


def say(connection: Connection, word: str | None) -> None:
    connection.execute(text("INSERT INTO word VALUES (:word)"), {"word": word})


async def words(database: Database) -> list[str]:
    async with database.read() as session:
        rows = await (await session.connection()).execute(text("SELECT said FROM word"))
        return [row[0] for row in rows]


async def test_work_that_fails_leaves_nothing_behind(database: Database) -> None:
    def work(connection: Connection) -> None:
        say(connection, "one")
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        await database.transaction(work)
    assert await words(database) == []


async def test_both_ways_of_writing_wait_for_each_other(database: Database) -> None:
    async with database.write() as session:
        other = asyncio.ensure_future(database.transaction(lambda at: say(at, "second")))
        await (await session.connection()).execute(text("INSERT INTO word VALUES ('first')"))
    await other
    assert await words(database) == ["first", "second"]


async def test_work_goes_on_when_its_caller_leaves(database: Database) -> None:
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work(connection: Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(timeout=30)
        say(connection, "kept")

    caller = asyncio.ensure_future(database.transaction(work))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await database.transaction(lambda at: say(at, "after"))
    assert await words(database) == ["kept", "after"]


async def test_readers_cannot_write(database: Database) -> None:
    async with database.read() as session:
        with pytest.raises(OperationalError, match="readonly"):
            await (await session.connection()).execute(text("INSERT INTO word VALUES ('x')"))
