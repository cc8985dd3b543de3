"""The recorder over real databases, with injected faults."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import col, select

from common.database import Result
from feedback.config import FeedbackConfig
from feedback.errors import (
    ConflictError,
    RecorderClosedError,
    RecorderFullError,
    RowRejectedError,
    StoreUnavailableError,
)
from feedback.models import Choice, Feedback, Interaction
from feedback.recorder.recorder import Recorder
from feedback.records import FeedbackRecord, unpack
from feedback.repository import write_feedback
from feedback.schemas import FeedbackIn
from feedback.storage.write_plan import Stored
from server.database.database import Database
from tests.feedback.examples import (
    TENANT,
    CountingObserver,
    interaction,
    judgement,
    new_id,
    running_service,
)
from tests.feedback.spool.spooling import looked_at, spooling

pytestmark = pytest.mark.anyio
QUICK = FeedbackConfig(retry_seconds=0.001, retry_seconds_max=0.002)


class FailingDatabase:
    """Fails some writes as a locked SQLite does, or holds them until it is let go."""

    def __init__(self, database: Database, *, failures: float = 0) -> None:
        self._database = database
        self.failures = failures
        self.read = database.read
        self.write = database.write
        self.gate = asyncio.Event()
        self.gate.set()

    async def transaction(self, work: Callable[[Connection], Result]) -> Result:
        await self.gate.wait()
        if self.failures > 0:
            self.failures -= 1
            raise OperationalError("", {}, sqlite3.OperationalError("database is locked"))
        return await self._database.transaction(work)


class RacingDatabase:
    """Another server writes `row` between our first look for it and our insert."""

    def __init__(self, database: Database, row: FeedbackRecord) -> None:
        self._database = database
        self._row: FeedbackRecord | None = row
        self.read = database.read
        self.write = database.write

    async def transaction(self, work: Callable[[Connection], Result]) -> Result:
        if self._row is None:
            return await self._database.transaction(work)
        row, self._row = self._row, None
        await self._database.transaction(lambda connection: write_feedback(connection, [row]))
        raise IntegrityError("", {}, sqlite3.IntegrityError("UNIQUE constraint failed"))


async def ids_of(database: Database) -> list[str]:
    async with database.read() as session:
        return list(await session.exec(select(Interaction.id)))


async def count_feedback(database: Database) -> int:
    async with database.read() as session:
        return (await session.exec(select(func.count(col(Feedback.id))))).one()


async def test_a_row_is_in_the_database_when_its_future_ends(database: Database) -> None:
    async with running_service(database) as (_, recorder):
        record = interaction(texts=["one", "two"])
        await recorder.record(record)
        async with database.read() as session:
            row = await session.get_one(Interaction, record.id)
            choices = (await session.exec(select(Choice).order_by(col(Choice.index)))).all()
        assert unpack(row.prompt_token_ids or b"") == [1, 2, 3]
        assert (row.prompt_tokens, row.completion_tokens) == (3, 4)
        assert row.received_at == record.received_at
        assert [choice.text for choice in choices] == ["one", "two"]
        assert unpack(choices[1].token_ids or b"") == [4, 5]


async def test_rows_that_wait_share_a_transaction(database: Database) -> None:
    observer = CountingObserver()
    async with running_service(database, FeedbackConfig(group_max=30), observer) as (_, recorder):
        rows = [interaction() for _ in range(50)]
        judgements = [judgement(str(number)) for number in range(50)]
        waiting = [recorder.record(row) for row in rows]
        waiting += [recorder.store(row) for row in judgements]
        await asyncio.gather(*waiting)
    assert max(observer.groups) == 30
    assert len(observer.groups) <= 5
    assert sorted(await ids_of(database)) == sorted(row.id for row in rows)
    assert await count_feedback(database) == 50
    assert observer.depth == 0


@pytest.mark.parametrize("bad", [[0], [3], [9], [2, 3, 7]])
async def test_a_bad_row_fails_alone(database: Database, bad: Sequence[int]) -> None:
    observer = CountingObserver()
    rows = [interaction(prompt_token_ids=[2**40] if number in bad else [1]) for number in range(10)]
    async with running_service(database, observer=observer) as (_, recorder):
        ends = await asyncio.gather(*map(recorder.record, rows), return_exceptions=True)
    assert [n for n, end in enumerate(ends) if isinstance(end, RowRejectedError)] == bad
    assert observer.failures == ["RowRejectedError"] * len(bad)
    async with database.read() as session:
        found = {row.id: row for row in await session.exec(select(Interaction))}
    assert [found[row.id].status for row in rows] == [
        "aborted" if number in bad else "complete" for number in range(10)
    ]


async def test_of_a_refused_answer_it_is_kept_that_there_was_one(
    database: Database, tmp_path: Path
) -> None:
    """Its id was seen by a client: what is said of it must not be said of nothing."""
    async with spooling(database, tmp_path) as log:
        refused = interaction(prompt_token_ids=[2**40], user="ann")
        with pytest.raises(RowRejectedError):
            await log.recorder.record(refused)
        said = FeedbackIn(inference_id=refused.id, metric_name="thumbs", value=True)
        await log.service.submit(TENANT, None, said)
        shown = await log.service.interaction(TENANT, refused.id)
    assert (shown.user, shown.status, shown.error) == ("ann", "aborted", "RowRejectedError")
    assert (shown.request, list(shown.choices), len(shown.feedback)) == ({}, [], 1)
    assert looked_at(tmp_path, "SELECT kind, id FROM refused") == [("interaction", refused.id)]


async def test_of_a_refused_report_nothing_is_kept(database: Database) -> None:
    """Its sender is told, and knows no id."""
    async with running_service(database) as (_, recorder):
        with pytest.raises(RowRejectedError):
            await recorder.record(interaction(prompt_token_ids=[2**40], mode="external"))
    assert await ids_of(database) == []


async def test_a_row_that_the_database_itself_refuses_fails_alone(
    database: Database,
) -> None:
    fields: dict[str, Any] = {"status": None}
    async with running_service(database) as (_, recorder):
        ends = await asyncio.gather(
            recorder.record(interaction(**fields)),
            recorder.store(judgement("f")),
            return_exceptions=True,
        )
    assert isinstance(ends[0], RowRejectedError)
    assert await count_feedback(database) == 1


@pytest.mark.parametrize(
    ("theirs", "end"), [("one", Stored("f", new=False)), ("two", ConflictError)]
)
async def test_what_another_server_writes_at_that_moment_is_not_refused_as_unfit(
    database: Database, theirs: str, end: object
) -> None:
    racing = RacingDatabase(database, judgement("f", digest=theirs))
    async with running_service(racing) as (_, recorder):
        (came,) = await asyncio.gather(recorder.store(judgement("f")), return_exceptions=True)
    assert end in (came, type(came))
    assert await count_feedback(database) == 1


async def test_rows_stay_queued_while_the_database_is_locked(database: Database) -> None:
    observer = CountingObserver()
    recorder = Recorder(FailingDatabase(database, failures=4), QUICK, observer)
    await recorder.start()
    rows = [interaction() for _ in range(5)]
    await asyncio.gather(*map(recorder.record, rows))
    await recorder.close()
    assert sorted(await ids_of(database)) == sorted(row.id for row in rows)
    assert observer.retries == 4
    assert observer.failures == []


async def test_close_writes_what_waits(database: Database) -> None:
    recorder = Recorder(database, FeedbackConfig(), CountingObserver())
    await recorder.start()
    rows = [interaction() for _ in range(300)]
    waiting = [recorder.record(row) for row in rows]
    await recorder.close()
    assert all(future.done() for future in waiting)
    assert len(await ids_of(database)) == 300


async def test_close_gives_up_at_its_deadline_and_says_so(database: Database) -> None:
    config = QUICK.model_copy(update={"close_seconds": 0.05})
    observer = CountingObserver()
    recorder = Recorder(FailingDatabase(database, failures=float("inf")), config, observer)
    await recorder.start()
    waiting = [recorder.record(interaction()) for _ in range(3)]
    await recorder.close()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(end) for end in ends} == {StoreUnavailableError}
    assert len(observer.failures) == 3


async def test_a_closed_recorder_refuses_rows(database: Database) -> None:
    recorder = Recorder(database, FeedbackConfig(), CountingObserver())
    with pytest.raises(RecorderClosedError):
        await recorder.record(interaction())
    await recorder.close()


async def test_a_full_queue_refuses_and_counts(database: Database) -> None:
    observer = CountingObserver()
    held = FailingDatabase(database)
    held.gate.clear()
    recorder = Recorder(held, FeedbackConfig(queue_max=2), observer)
    await recorder.start()
    kept = [recorder.record(interaction()) for _ in range(2)]
    with pytest.raises(RecorderFullError):
        await recorder.record(interaction())
    held.gate.set()
    await asyncio.gather(*kept)
    await recorder.close()
    assert observer.failures == ["RecorderFullError"]


async def test_an_answer_that_nobody_waits_for_is_written_all_the_same(
    database: Database,
) -> None:
    record = interaction()
    async with running_service(database) as (_, recorder):
        recorder.record(record).cancel()
    assert await ids_of(database) == [record.id]


async def test_feedback_that_was_withdrawn_is_not_written(database: Database) -> None:
    async with running_service(database) as (_, recorder):
        recorder.store(judgement("f")).cancel()
    assert await count_feedback(database) == 0


async def test_the_same_feedback_twice_in_a_group_is_one_row(database: Database) -> None:
    observer = CountingObserver()
    same = [judgement("f"), judgement("f"), judgement("f", digest="two"), judgement("f")]
    async with running_service(database, observer=observer) as (_, recorder):
        ends = await asyncio.gather(*map(recorder.store, same), return_exceptions=True)
    assert [type(end) for end in ends].count(ConflictError) == 1
    assert await count_feedback(database) == 1
    assert observer.stored == [("thumbs", None)]


async def test_a_report_may_arrive_twice_and_never_hides_the_servers_answer(
    database: Database,
) -> None:
    id_ = new_id()
    report = interaction(id_, mode="external", texts=["a", "b"], run_id="run")
    async with running_service(database) as (_, recorder):
        for record in (report, report, interaction(id_, texts=["own"]), report):
            await recorder.record(record)
    async with database.read() as session:
        rows = (await session.exec(select(Interaction))).all()
        texts = (await session.exec(select(Choice.text))).all()
    assert [(row.mode, row.run_id) for row in rows] == [("live", "run")]
    assert texts == ["own"]
