"""While the database is away: what is acknowledged is durable, and arrives once."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func
from sqlmodel import col, select

from common.database import Database
from feedback.errors import ConflictError, InvalidInputError
from feedback.models import Choice, Feedback, Interaction
from feedback.records import FeedbackRecord, Subject
from feedback.spool.spool import Spool
from feedback.storage.write_plan import Stored
from tests.feedback.examples import NOW, CountingObserver, interaction, judgement, new_id
from tests.feedback.spool.spooling import HASTY, QUICK, looked_at, spool_path, spooling

pytestmark = pytest.mark.anyio

WAITING = "SELECT (SELECT count(*) FROM interaction) + (SELECT count(*) FROM feedback)"


async def interactions(database: Database) -> list[Interaction]:
    async with database.read() as session:
        return list(await session.exec(select(Interaction).order_by(col(Interaction.id))))


async def judgements(database: Database) -> list[Feedback]:
    async with database.read() as session:
        return list(await session.exec(select(Feedback).order_by(col(Feedback.id))))


async def test_what_comes_while_the_database_is_away_is_acknowledged_and_arrives(
    database: Database, tmp_path: Path
) -> None:
    rows = [interaction() for _ in range(20)]
    said = [judgement(f"{number:02}", interaction_id=rows[number].id) for number in range(20)]
    async with spooling(database, tmp_path, away=True) as log:
        waiting = [*map(log.recorder.record, rows), *map(log.recorder.store, said)]
        assert all(stored.new for stored in await asyncio.gather(*waiting))
        assert looked_at(tmp_path, WAITING) == [(40,)]
        assert await interactions(database) == []
        log.database.away = False
        await log.caught_up()
        assert looked_at(tmp_path, WAITING) == [(0,)]
        assert (log.heard.spooled_rows, log.heard.forwarded_rows, log.heard.rows) == (40, 40, 0)
    assert {row.id for row in await interactions(database)} == {row.id for row in rows}
    assert [row.id for row in await judgements(database)] == [row.id for row in said]


async def test_a_row_is_the_same_by_either_way(database: Database, tmp_path: Path) -> None:
    direct = interaction(texts=["one", "two"], user="u", trial="t", trial_share=0.5)
    spooled = interaction(texts=["one", "two"], user="u", trial="t", trial_share=0.5)
    async with spooling(database, tmp_path) as log:
        await log.recorder.record(direct)
        log.database.away = True
        await log.recorder.record(spooled)
        log.database.away = False
        await log.caught_up()
    kept = {row.id: row.model_dump(exclude={"id"}) for row in await interactions(database)}
    assert kept[direct.id] == kept[spooled.id]
    async with database.read() as session:
        choices = (await session.exec(select(Choice).order_by(col(Choice.index)))).all()
    assert [choice.text for choice in choices] == ["one", "one", "two", "two"]
    assert len({choice.token_ids for choice in choices}) == 1


async def test_new_rows_go_behind_those_that_wait(database: Database, tmp_path: Path) -> None:
    """An older report must not come after a newer one of the same interaction."""
    id_ = new_id()
    first = interaction(id_, mode="external", texts=["old"], status="aborted")
    second = interaction(id_, mode="external", texts=["new"])
    async with spooling(database, tmp_path, away=True) as log:
        await log.recorder.record(first)
        async with log.forwarder.order:
            log.database.away = False
            waiting = log.recorder.record(second)
            while log.spool.rows:  # the old report is on its way  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            assert not waiting.done()
        await waiting
        await log.caught_up()
    async with database.read() as session:
        assert (await session.exec(select(Choice.text))).all() == ["new"]


async def test_a_report_that_is_renewed_while_it_is_forwarded_is_forwarded_again(
    tmp_path: Path,
) -> None:
    id_ = new_id()
    spool = Spool(spool_path(tmp_path), 2**20)
    await spool.write([interaction(id_, mode="external", texts=["old"])], [])
    group = await spool.oldest(10)
    await spool.write([interaction(id_, mode="external", texts=["new"])], [])
    await spool.forget(group, [], NOW)
    (kept,) = (await spool.oldest(10)).interactions
    assert [choice.text for choice in kept.choices] == ["new"]
    await spool.forget(await spool.oldest(10), [], NOW)
    assert spool.rows == 0
    await spool.close()


async def test_a_transaction_that_was_given_up_may_commit_after_all(
    database: Database, tmp_path: Path
) -> None:
    rows = [interaction(texts=["a", "b"]) for _ in range(3)]
    observer = CountingObserver()
    async with spooling(database, tmp_path, HASTY, recorded=observer) as log:
        log.database.silent = True
        waiting = [*map(log.recorder.record, rows), log.recorder.store(judgement("f"))]
        await asyncio.gather(*waiting)
        assert log.heard.spooled_rows == 4
        assert len(await interactions(database)) == 3  # it did commit
        log.database.silent = False
        await log.caught_up()
    assert {row.id for row in await interactions(database)} == {row.id for row in rows}
    assert [row.id for row in await judgements(database)] == ["f"]
    async with database.read() as session:
        assert (await session.exec(select(func.count(col(Choice.index))))).one() == 6


async def test_a_crash_between_the_two_writes_writes_again_and_changes_nothing(
    database: Database, tmp_path: Path
) -> None:
    row, said = interaction(), judgement("f")
    async with spooling(database, tmp_path) as log:
        await log.recorder.record(row)
        await log.recorder.store(said)
    spool = Spool(spool_path(tmp_path), 2**20)
    await spool.write([row], [said])
    await spool.close()
    async with spooling(database, tmp_path) as log:
        await log.caught_up()
        assert log.heard.forwarded_rows == 2
    assert [found.id for found in await interactions(database)] == [row.id]
    assert [found.id for found in await judgements(database)] == ["f"]


async def test_what_was_left_is_forwarded_at_the_next_start(
    database: Database, tmp_path: Path
) -> None:
    rows = [interaction() for _ in range(5)]
    async with spooling(database, tmp_path, away=True) as log:
        await asyncio.gather(*map(log.recorder.record, rows))
    async with spooling(database, tmp_path) as log:
        assert log.forwarder.behind
        await log.caught_up()
    assert {row.id for row in await interactions(database)} == {row.id for row in rows}


async def test_interactions_come_before_the_feedback_on_them(tmp_path: Path) -> None:
    spool = Spool(spool_path(tmp_path), 2**20)
    later = [NOW + timedelta(seconds=number) for number in range(4)]
    said = [judgement(f"{n}", received_at=later[n]) for n in range(4)]
    asked = [interaction(received_at=later[n]) for n in range(4)]
    await spool.write(asked[2:], said[2:])
    await spool.write(asked[:2], said[:2])
    group = await spool.oldest(3)
    assert [row.id for row in group.interactions] == [row.id for row in asked[:2]]
    assert [row.id for row in group.feedback] == ["0"]
    await spool.close()


async def test_an_id_that_the_database_knows_with_other_content_is_kept_aside(
    database: Database, tmp_path: Path
) -> None:
    async with spooling(database, tmp_path) as log:
        await log.recorder.store(judgement("taken", digest="one"))
        log.database.away = True
        ends = await asyncio.gather(
            log.recorder.store(judgement("taken", digest="two", rationale="for the record")),
            log.recorder.store(judgement("free")),
        )
        assert all(isinstance(end, Stored) for end in ends)
        log.database.away = False
        await log.caught_up()
        assert log.heard.refusals == [ConflictError.__name__]
        assert log.heard.forwarded_rows == 1
    assert [row.id for row in await judgements(database)] == ["free", "taken"]
    ((reason, content),) = looked_at(tmp_path, "SELECT reason, content FROM refused")
    assert (reason, json.loads(content)["rationale"]) == ("ConflictError", "for the record")


async def test_what_does_not_fit_its_answers_is_found_out_when_they_are_known(
    database: Database, tmp_path: Path
) -> None:
    row = interaction(texts=["only one"])
    subject = Subject("choice", row.id, 7, named=True)
    unfit = judgement("unfit", interaction_id=row.id, choice=7, subjects=[subject])
    async with spooling(database, tmp_path) as log:
        await log.recorder.record(row)
        log.database.away = True
        assert (await log.recorder.store(unfit)).new
        log.database.away = False
        await log.caught_up()
        assert log.heard.refusals == [InvalidInputError.__name__]
    assert await judgements(database) == []


async def test_the_spool_itself_refuses_another_content_under_the_same_id(
    database: Database, tmp_path: Path
) -> None:
    async with spooling(database, tmp_path, away=True) as log:
        same = [judgement("f"), judgement("f"), judgement("f", digest="two")]
        ends = await asyncio.gather(*map(log.recorder.store, same), return_exceptions=True)
        assert [type(end) for end in ends] == [Stored, Stored, ConflictError]
        assert log.heard.spooled_rows == 1


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_a_row_that_only_the_database_refuses_is_kept_aside_alone(
    database: Database, tmp_path: Path
) -> None:
    """SQLite takes any integer, PostgreSQL 32 bits."""
    rows = [interaction(cached_tokens=2**40 if number == 3 else 0) for number in range(8)]
    async with spooling(database, tmp_path, away=True) as log:
        await asyncio.gather(*map(log.recorder.record, rows))
        log.database.away = False
        await log.caught_up()
        assert log.heard.refusals == ["RowRejectedError"]
    statuses = {row.id: row.status for row in await interactions(database)}
    assert [statuses[row.id] == "aborted" for row in rows] == [number == 3 for number in range(8)]
    ((kept,),) = looked_at(tmp_path, "SELECT id FROM refused")
    assert kept == rows[3].id


async def test_a_bad_row_fails_alone_in_the_spool_too(database: Database, tmp_path: Path) -> None:
    rows = [interaction(prompt_token_ids=[2**40] if number == 2 else [1]) for number in range(5)]
    async with spooling(database, tmp_path, away=True) as log:
        ends = await asyncio.gather(*map(log.recorder.record, rows), return_exceptions=True)
    assert [isinstance(end, Exception) for end in ends] == [n == 2 for n in range(5)]


async def test_a_group_is_forwarded_however_large_the_spool(
    database: Database, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"group_max": 7})
    said: Sequence[FeedbackRecord] = [
        judgement(f"{number:03}", received_at=NOW + timedelta(seconds=number))
        for number in range(50)
    ]
    async with spooling(database, tmp_path, config, away=True) as log:
        await asyncio.gather(*map(log.recorder.store, said))
        log.database.away = False
        await log.caught_up()
    found = await judgements(database)
    assert [(row.id, row.received_at) for row in found] == [(r.id, r.received_at) for r in said]


async def test_once_the_last_group_is_forwarded_nothing_goes_before_catching_up(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at the database there gives a steady load the time to fill the spool again."""
    late: list[str] = []
    async with spooling(database, tmp_path, away=True) as log:
        transaction = log.database.transaction

        async def busy(work: Any) -> Any:
            done = await transaction(work)
            if log.forwarder.behind and not log.spool.rows and len(late) < 3:
                late.append(f"late {len(late)}")
                await log.recorder.store(judgement(late[-1]))
            return done

        await log.recorder.store(judgement("first"))
        monkeypatch.setattr(log.database, "transaction", busy)
        log.database.away = False
        await log.caught_up()
    assert late == []


async def test_nothing_is_put_behind_the_last_group_while_it_is_forwarded(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the database: else a steady load would do so each time."""
    late: list[str] = []
    async with spooling(database, tmp_path, away=True) as log:
        transaction = log.database.transaction

        async def slow(work: Any) -> Any:
            if log.forwarder.behind and not log.forwarder.order.locked() and len(late) < 3:
                late.append(f"late {len(late)}")
                await log.recorder.store(judgement(late[-1]))
            return await transaction(work)

        await log.recorder.store(judgement("first"))
        monkeypatch.setattr(log.database, "transaction", slow)
        log.database.away = False
        await log.caught_up()
    assert late == ["late 0"]  # that one came before the database was known to answer


async def test_the_spool_empties_under_a_load_that_never_ends(
    database: Database, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"group_max": 5})
    ended = False

    async def client(log: Any, number: int) -> int:
        for turn in count():
            await log.recorder.store(judgement(f"{number} {turn}"))
            if ended:
                return turn + 1
        raise AssertionError

    async with spooling(database, tmp_path, config, away=True) as log:
        clients = [asyncio.ensure_future(client(log, number)) for number in range(20)]
        while log.spool.rows < 200:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        log.database.away = False
        async with asyncio.timeout(30):
            while log.forwarder.behind:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        ended = True
        said = sum(await asyncio.gather(*clients))
    assert len(await judgements(database)) == said
