"""The spool's file: bounded, damaged, of an older version, nobody else's to read."""

import asyncio
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from structlog.testing import capture_logs

from common.database import Database
from feedback.errors import StoreUnavailableError
from feedback.records import InteractionRecord
from feedback.spool.spool import Refused, Spool
from tests.feedback.examples import NOW, interaction, judgement
from tests.feedback.spool.spooling import QUICK, looked_at, spool_path, spooling
from tests.feedback.spool.test_spool import interactions, judgements

pytestmark = pytest.mark.anyio


async def fill(log: Any) -> tuple[list[InteractionRecord], list[InteractionRecord]]:
    """Interactions until the spool takes no more: those that it took, and those that wait."""
    taken: list[InteractionRecord] = []
    while True:
        row = interaction(texts=["x" * 50_000])
        future = log.recorder.record(row)
        log.database.tried.clear()
        waits = asyncio.ensure_future(log.recorder.store(judgement(f"probe {len(taken)}")))
        await asyncio.wait({waits})
        if isinstance(waits.exception(), StoreUnavailableError):
            return taken, [row]
        await future
        taken.append(row)


async def test_a_full_spool_refuses_feedback_and_keeps_what_it_has(
    database: Database, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"spool_max_bytes": 2**20})
    async with spooling(database, tmp_path, config, away=True) as log:
        taken, waiting = await fill(log)
        assert log.spool.bytes <= 2**20
        assert len(taken) > 5
        with pytest.raises(StoreUnavailableError):
            await log.recorder.store(judgement("one more"))
        assert looked_at(tmp_path, "PRAGMA integrity_check") == [("ok",)]
        log.database.away = False
        await log.caught_up()
        await log.recorder.store(judgement("at last"))
    ids = {row.id for row in await interactions(database)}
    assert ids == {row.id for row in [*taken, *waiting]}
    assert "one more" not in {row.id for row in await judgements(database)}


async def test_the_file_gives_its_space_back(database: Database, tmp_path: Path) -> None:
    async with spooling(database, tmp_path, away=True) as log:
        rows = [interaction(texts=["x" * 20_000]) for _ in range(50)]
        await asyncio.gather(*map(log.recorder.record, rows))
        full = sum(file.stat().st_size for file in spool_path(tmp_path).parent.iterdir())
        log.database.away = False
        await log.caught_up()
        empty = sum(file.stat().st_size for file in spool_path(tmp_path).parent.iterdir())
    assert full > 1_000_000
    assert empty < 200_000


async def test_a_damaged_file_is_set_aside_and_the_start_goes_on(
    database: Database, tmp_path: Path
) -> None:
    spool_path(tmp_path).parent.mkdir()
    spool_path(tmp_path).write_bytes(b"no database at all" * 1000)
    async with spooling(database, tmp_path, away=True) as log:
        await log.recorder.store(judgement("f"))
        log.database.away = False
        await log.caught_up()
    assert [row.id for row in await judgements(database)] == ["f"]
    (aside,) = spool_path(tmp_path).parent.glob("*.damaged-*")
    assert aside.read_bytes().startswith(b"no database")


async def test_a_file_of_an_older_version_is_taken_up(database: Database, tmp_path: Path) -> None:
    row = interaction()
    spool = Spool(spool_path(tmp_path), 2**20)
    await spool.write([row], [])
    await spool.close()
    with closing(sqlite3.connect(spool_path(tmp_path))) as connection:
        for index in ("interaction_comparison", "interaction_compared"):
            connection.execute(f"DROP INDEX {index}")
        for table in ("interaction", "feedback"):
            for change in ("insert", "delete"):
                connection.execute(f"DROP TRIGGER waiting_{table}_{change}")
        connection.execute("DROP TABLE waiting")
        connection.execute("ALTER TABLE interaction DROP COLUMN comparison")
        connection.commit()
    async with spooling(database, tmp_path) as log:
        await log.caught_up()
    assert [found.id for found in await interactions(database)] == [row.id]


async def test_nobody_else_can_read_the_folder(database: Database, tmp_path: Path) -> None:
    async with spooling(database, tmp_path, away=True) as log:
        await log.recorder.store(judgement("f"))
    assert stat.S_IMODE(spool_path(tmp_path).parent.stat().st_mode) == 0o700


async def test_without_an_outage_there_is_no_file(database: Database, tmp_path: Path) -> None:
    async with spooling(database, tmp_path) as log:
        await log.recorder.store(judgement("f"))
    assert not spool_path(tmp_path).exists()


async def test_a_full_spool_lets_go_of_what_the_database_refuses(
    database: Database, tmp_path: Path
) -> None:
    """Keeping a refused row aside takes room: that of the rows which leave."""
    config = QUICK.model_copy(update={"spool_max_bytes": 2**20})
    async with spooling(database, tmp_path, config) as log:
        await log.recorder.store(judgement("taken", digest="one"))
        log.database.away = True
        await log.recorder.store(judgement("taken", digest="two", rationale="y" * 100_000))
        await fill(log)
        log.database.away = False
        await log.caught_up()
    assert looked_at(tmp_path, "SELECT id, reason FROM refused") == [("taken", "ConflictError")]


async def test_a_refused_row_that_no_room_is_left_for_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(spool_path(tmp_path), 2**20)
    await spool.write([], [judgement("a"), judgement("b")])

    def full(connection: Connection, *_: object) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={2**18 // 4096}")
        connection.exec_driver_sql("CREATE TABLE large AS SELECT zeroblob(1048576)")

    monkeypatch.setattr("feedback.spool.spool.quarantine", full)
    group = await spool.oldest(10)
    with capture_logs() as logs:
        await spool.forget(group, [Refused(group.feedback[0], "ConflictError")], NOW)
    assert spool.rows == 0
    assert [entry["event"] for entry in logs] == ["refused_rows_not_kept"]
    await spool.close()
