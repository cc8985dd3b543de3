"""What is asked of PostgreSQL beside the contract: durability, and being seen dead in time."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError, OperationalError

from adapters.models import Channel
from bench.support.postgres import UNSYNCED, PostgresServer, running_postgres
from server.database.database import Database
from server.database.hung_connections import ANSWER_SECONDS, LONG_SECONDS
from server.database.migrate import upgrade
from server.errors import SetupError
from tests.postgres_fixture import TestDatabases

pytestmark = pytest.mark.anyio
BACKEND = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
STRENGTHS = [("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply", "remote_apply")]


@pytest.fixture(scope="module")
def mortal() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    with running_postgres(UNSYNCED) as server:
        yield server


@pytest.fixture
async def away(mortal: PostgresServer) -> AsyncIterator[Database]:
    """A database whose server a test may stop."""
    database = Database(mortal.url())
    await database.ping()
    yield database
    await database.close()


def name_of(url: str) -> str:
    return url.rsplit("/", 1)[1]


async def setting(database: Database, name: str) -> tuple[str, str, str]:
    """A setting as a reader, a writer and the writer's thread have it."""
    show = text(f"SHOW {name}")
    async with database.read() as session:
        reader = (await (await session.connection()).execute(show)).scalar_one()
    async with database.write() as session:
        writer = (await (await session.connection()).execute(show)).scalar_one()
    direct = await database.transaction(lambda at: at.execute(show).scalar_one())
    return reader, writer, direct


@BACKEND
@pytest.mark.parametrize(("configured", "used"), STRENGTHS)
async def test_commits_are_durable_whatever_is_configured(
    database_url: str, database: Database, postgres: TestDatabases, configured: str, used: str
) -> None:
    name = name_of(database_url)
    postgres.server.execute(f"ALTER DATABASE {name} SET synchronous_commit = {configured}")
    assert await setting(database, "synchronous_commit") == (used, used, used)


@BACKEND
async def test_a_connection_says_whose_it_is(database: Database) -> None:
    assert await setting(database, "application_name") == ("pawl", "pawl", "pawl")


@BACKEND
async def test_a_paused_server_does_not_keep_the_writers_lock(database: Database) -> None:
    idle = await setting(database, "idle_in_transaction_session_timeout")
    patience = await setting(database, "lock_timeout")
    assert (idle, patience) == (("0", "10s", "10s"), ("0", "15s", "15s"))


@BACKEND
async def test_an_address_may_say_otherwise(database_url: str) -> None:
    database = Database(f"{database_url}?application_name=shop")
    assert await setting(database, "application_name") == ("shop", "shop", "shop")
    await database.close()


@BACKEND
async def test_every_text_sorts_by_its_bytes_wherever_the_database_was_made(
    database: Database,
) -> None:
    """Where the database's own collation differs (`en_US`), so would the order of ids."""
    query = text(
        "SELECT c.relname || '.' || a.attname FROM pg_attribute a"
        " JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'"
        " JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'"
        " JOIN pg_collation l ON l.oid = a.attcollation"
        " WHERE a.attnum > 0 AND l.collname <> 'C' AND c.relname <> 'alembic_version'"
    )
    assert await database.transaction(lambda at: at.execute(query).scalars().all()) == []


@BACKEND
async def test_errors_tell_nothing_of_the_row_that_was_refused(database: Database) -> None:
    said = 40 * "x"

    async def add() -> None:
        async with database.write() as session:
            session.add(Channel(name="pawl", tenant=said, created_at=datetime.now(UTC)))

    def remove(connection: Connection) -> None:
        connection.execute(text("UPDATE channel SET created_at = NULL"))

    await add()
    for refused in (add, lambda: database.transaction(remove)):
        with pytest.raises(IntegrityError) as caught:
            await refused()
        told = "".join(traceback.format_exception(caught.value))
        assert ("constraint" in told, said in told) == (True, False)


async def test_a_database_that_comes_back_is_used_again(
    mortal: PostgresServer, away: Database
) -> None:
    def one(connection: Connection) -> Any:
        return connection.execute(text("SELECT 1")).scalar_one()

    assert await away.transaction(one) == 1
    mortal.kill()
    with pytest.raises(OperationalError):
        await away.ping()
    with pytest.raises(OperationalError):
        await away.transaction(one)
    mortal.start()
    await away.ping()
    assert await away.transaction(one) == 1
    assert await setting(away, "timezone") == ("UTC", "UTC", "UTC")


async def test_whoever_waits_for_a_database_that_falls_silent_is_told(
    mortal: PostgresServer, away: Database
) -> None:
    async def write() -> None:
        async with away.write() as session:
            await (await session.connection()).execute(text("SELECT 1"))

    await asyncio.gather(write(), away.transaction(lambda at: at.execute(text("SELECT 1"))))
    mortal.pause()
    try:
        waiting = (away.ping(), write(), away.transaction(lambda at: at.execute(text("SELECT 1"))))
        ends = await asyncio.gather(*waiting, return_exceptions=True)
    finally:
        mortal.resume()
    assert [type(end) for end in ends] == [OperationalError] * 3
    await away.ping()
    await write()


async def test_a_query_that_takes_long_is_left_alone(away: Database) -> None:
    slow = text("SELECT 'done' FROM pg_sleep(:seconds)")
    slow = slow.bindparams(seconds=2 * (LONG_SECONDS + ANSWER_SECONDS))
    assert await away.transaction(lambda at: at.execute(slow).scalar_one()) == "done"


@pytest.mark.parametrize(
    ("user", "database"), [("nobody_we_know", "postgres"), ("postgres", "no_such_database")]
)
async def test_a_refused_login_says_what_to_do_and_keeps_the_password(
    postgres: TestDatabases, user: str, database: str
) -> None:
    url = f"postgresql://{user}:hidden@127.0.0.1:{postgres.server.port}/{database}"
    with pytest.raises(SetupError, match="refuses the login") as refused:
        await upgrade(url)
    assert "hidden" not in str(refused.value)


async def test_a_user_who_may_make_no_tables_is_told(postgres: TestDatabases) -> None:
    postgres.server.execute("CREATE ROLE reader LOGIN")
    with postgres.database(empty=True) as url, pytest.raises(SetupError, match="create tables"):
        await upgrade(url.replace("postgres@", "reader@"))


async def test_a_database_of_another_encoding_is_refused(postgres: TestDatabases) -> None:
    execute = postgres.server.execute
    execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with pytest.raises(SetupError, match="UTF8"):
        await upgrade(postgres.server.url("latin"))


async def test_a_database_that_is_away_is_no_mistake_of_the_settings() -> None:
    with pytest.raises(OperationalError):
        await upgrade("postgresql://user:hidden@127.0.0.1:1/pawl")
