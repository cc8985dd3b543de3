"""The database as the rooms see it, on SQLite and on PostgreSQL."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import InternalError, OperationalError
from sqlmodel import col, select

from adapters.models import Channel
from server.database.database import Database, database_address
from server.errors import SetupError

pytestmark = pytest.mark.anyio
ON_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)


@pytest.fixture
async def spoken(database: Database) -> Database:
    """A table of words."""
    await database.transaction(
        lambda at: at.execute(text("CREATE TABLE word (said VARCHAR NOT NULL)"))
    )
    return database


@pytest.fixture
async def second(database_url: str, spoken: Database) -> AsyncIterator[Database]:
    """Another server's view of the same database."""
    made = Database(database_url)
    yield made
    await made.close()


def say(connection: Connection, word: str | None) -> None:
    connection.execute(text("INSERT INTO word VALUES (:word)"), {"word": word})


async def words(database: Database) -> list[str]:
    async with database.read() as session:
        rows = await (await session.connection()).execute(text("SELECT said FROM word"))
        return [row[0] for row in rows]


async def test_work_that_fails_leaves_nothing_behind(spoken: Database) -> None:
    def work(connection: Connection) -> None:
        say(connection, "one")
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        await spoken.transaction(work)
    assert await words(spoken) == []


@ON_SQLITE
async def test_both_ways_of_writing_wait_for_each_other(spoken: Database) -> None:
    async with spoken.write() as session:
        other = asyncio.ensure_future(spoken.transaction(lambda at: say(at, "second")))
        await (await session.connection()).execute(text("INSERT INTO word VALUES ('first')"))
    await other
    assert await words(spoken) == ["first", "second"]


async def test_what_a_writer_read_is_true_until_it_commits(
    spoken: Database, second: Database
) -> None:
    async def add_one_more(database: Database) -> None:
        async with database.write() as session:
            connection = await session.connection()
            before = (await connection.execute(text("SELECT count(*) FROM word"))).scalar_one()
            await asyncio.sleep(0)
            await connection.execute(
                text("INSERT INTO word VALUES (:number)"), {"number": str(before)}
            )

    await asyncio.gather(*(add_one_more(at) for _ in range(10) for at in (spoken, second)))
    assert sorted(await words(spoken), key=int) == [str(number) for number in range(20)]


async def test_a_reader_sees_one_moment(spoken: Database) -> None:
    async with spoken.read() as session:
        connection = await session.connection()
        first = (await connection.execute(text("SELECT count(*) FROM word"))).scalar_one()
        await spoken.transaction(lambda at: say(at, "meanwhile"))
        again = (await connection.execute(text("SELECT count(*) FROM word"))).scalar_one()
    assert (first, again) == (0, 0)
    assert await words(spoken) == ["meanwhile"]


async def test_work_goes_on_when_its_caller_leaves(spoken: Database) -> None:
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work(connection: Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(timeout=30)
        say(connection, "kept")

    caller = asyncio.ensure_future(spoken.transaction(work))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await spoken.transaction(lambda at: say(at, "after"))
    assert await words(spoken) == ["kept", "after"]


async def test_readers_cannot_write(spoken: Database) -> None:
    async with spoken.read() as session:
        connection = await session.connection()
        with pytest.raises((OperationalError, InternalError), match=r"read-?only"):
            await connection.execute(text("INSERT INTO word VALUES ('x')"))


async def test_moments_come_back_as_they_were_in_utc(database: Database) -> None:
    moment = datetime(2026, 10, 25, 2, 30, 15, 123456, tzinfo=timezone(timedelta(hours=2)))
    async with database.write() as session:
        session.add(Channel(name="pawl", tenant="default", created_at=moment))
    async with database.read() as session:
        read = (await session.exec(select(Channel.created_at))).one()
        found = (await session.exec(select(Channel.name).where(Channel.created_at == moment))).one()
    assert (read, read.tzinfo, found) == (moment, UTC, "pawl")


async def test_text_sorts_by_its_bytes(database: Database) -> None:
    names = ["B", "a", "A-", "Aa", "ä", "é", "_", "-a", "a-b", "ab"]
    async with database.write() as session:
        session.add_all(
            [Channel(name=name, tenant="default", created_at=datetime.now(UTC)) for name in names]
        )
    async with database.read() as session:
        found = (await session.exec(select(Channel.name).order_by(col(Channel.name)))).all()
    assert list(found) == sorted(names)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://user@host/pawl", "postgresql+psycopg://user@host/pawl"),
        ("postgresql://user@host/pawl", "postgresql+psycopg://user@host/pawl"),
        ("postgresql+psycopg://user@host/pawl", "postgresql+psycopg://user@host/pawl"),
        ("sqlite:////data/pawl.db", "sqlite+aiosqlite:////data/pawl.db"),
        ("sqlite+aiosqlite:////data/pawl.db", "sqlite+aiosqlite:////data/pawl.db"),
    ],
)
def test_an_address_gets_the_driver_that_is_used(given: str, used: str) -> None:
    assert str(database_address(given)) == used


@pytest.mark.parametrize(
    "given", ["mysql://user:hidden@host/pawl", "postgresql+asyncpg://user:hidden@host/p", "hidden"]
)
def test_another_databases_address_is_refused_without_telling_it(given: str) -> None:
    with pytest.raises(SetupError, match="database_url") as refused:
        database_address(given)
    assert "hidden" not in str(refused.value)


def test_a_password_is_not_shown() -> None:
    assert "hidden" not in str(database_address("postgres://user:hidden@host/pawl"))
