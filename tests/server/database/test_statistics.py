"""What SQLite's planner knows: renewed in a bounded time, and seen by connections that are open."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import Engine

from server.database.database import Database, sqlite_url
from server.database.migrate import upgrade
from server.database.statistics import ANALYSIS_LIMIT
from server.maintenance.daily import renew_statistics
from tests.retrain.log import Log

pytestmark = pytest.mark.anyio
SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
KNOWN = text("SELECT count(*) FROM sqlite_stat1 WHERE tbl = 'interaction'")


async def fill(database: Database) -> None:
    log = Log(datetime.now(UTC))
    for number in range(50):
        log.ask(f"question {number}", "answer", user=f"user {number}")
    await log.write(database)


@SQLITE
async def test_the_daily_work_tells_the_planner_what_the_tables_hold(database: Database) -> None:
    await fill(database)
    assert await database.transaction(lambda at: at.execute(KNOWN).scalar_one()) == 0
    for _ in range(2):
        await renew_statistics(database)
        assert await database.transaction(lambda at: at.execute(KNOWN).scalar_one()) > 0


@SQLITE
async def test_no_more_than_some_entries_of_an_index_are_looked_at(database: Database) -> None:
    made: list[str] = []

    def hear(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        made.append(statement)

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        await database.renew_statistics()
    finally:
        event.remove(Engine, "before_cursor_execute", hear)
    assert made.index(f"PRAGMA analysis_limit={ANALYSIS_LIMIT}") < made.index("ANALYZE")


@SQLITE
async def test_connections_that_are_open_read_the_schema_anew(database: Database) -> None:
    """With it they read what the planner knows, and only then."""

    async def schema() -> int:
        async with database.read() as session:
            query = text("PRAGMA schema_version")
            return int((await (await session.connection()).execute(query)).scalar_one())

    await fill(database)
    await database.renew_statistics()
    before = await schema()
    await database.renew_statistics()
    assert await schema() != before


async def test_a_migration_leaves_statistics_behind_on_sqlite(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "pawl.db")
    await upgrade(url, "0003")
    database = Database(url)
    add = text("INSERT INTO channel VALUES ('a', 't', 0, '2026-11-16')")
    await database.transaction(lambda at: at.execute(add))
    await upgrade(url)

    def known(connection: Connection) -> int:
        query = text("SELECT count(*) FROM sqlite_stat1 WHERE tbl = 'channel'")
        return int(connection.execute(query).scalar_one())

    assert await database.transaction(known) == 1
    await database.close()
