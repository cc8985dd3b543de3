"""What clients and models may send, and not every database can keep: nothing stops a group."""

import asyncio
import json
from typing import Any

import pytest
from sqlmodel import select

from feedback.errors import RowRejectedError
from feedback.models import Choice, Feedback, Interaction
from feedback.records import ChoiceRecord, unpack
from server.database.database import Database
from tests.feedback.examples import NOW, interaction, judgement, running_service

pytestmark = pytest.mark.anyio

HARD = "a\x00b\ud800c"
KEPT = "a\ufffdb?c"
REQUEST = {
    "messages": [{"role": "user", "content": HARD}],
    "whole": 2**70,
    "low": -(2**63),
    "small": 5e-324,
    "deep": {"ключ\x00": [None, True, "\u2028", "😀"]},
}


async def all_of(database: Database, table: type[Any]) -> list[Any]:
    async with database.read() as session:
        return list((await session.exec(select(table))).all())


async def test_an_answer_is_kept_whatever_its_texts_hold(database: Database) -> None:
    row = interaction(
        user=HARD,
        model=HARD,
        requested_model=HARD,
        request=REQUEST,
        choices=[ChoiceRecord(0, HARD, token_ids=[0, 2**31 - 1])],
        first_token_seconds=1e-300,
        duration_seconds=1e300,
    )
    async with running_service(database) as (_, recorder):
        await recorder.record(row)
    (stored,) = await all_of(database, Interaction)
    assert (stored.user, stored.model, stored.requested_model) == (KEPT, KEPT, KEPT)
    assert stored.request == json.loads(json.dumps(REQUEST))
    assert (stored.first_token_seconds, stored.duration_seconds) == (1e-300, 1e300)
    assert (stored.received_at, stored.received_at.utcoffset()) == (NOW, NOW.utcoffset())
    (choice,) = await all_of(database, Choice)
    assert (choice.text, unpack(choice.token_ids)) == (KEPT, [0, 2**31 - 1])


@pytest.mark.parametrize(
    "value", [True, 5, 0.1, 2**63 - 1, "a\x00b", {"over": "x", "choice": 1}, [{"id": "x"}], ""]
)
async def test_a_value_comes_back_as_it_went(database: Database, value: Any) -> None:
    tags = {"ü\x00": "\ud83d"}
    async with running_service(database) as (_, recorder):
        await recorder.store(judgement("one", value=value, tags=tags))
    (stored,) = await all_of(database, Feedback)
    assert (stored.value, stored.tags) == (value, tags)


async def test_numbers_that_are_not_finite_become_null(database: Database) -> None:
    request = {"none": [float("nan"), float("inf"), 1.5]}
    async with running_service(database) as (_, recorder):
        await recorder.record(interaction(request=request))
    (stored,) = await all_of(database, Interaction)
    assert stored.request == {"none": [None, None, 1.5]}


@pytest.mark.parametrize("fields", [{"rater": HARD}, {"rationale": HARD}, {"choice": 2**40}])
async def test_what_a_database_cannot_keep_stops_no_other_row(
    database: Database, fields: dict[str, Any]
) -> None:
    """The door lets no such feedback in; what comes another way is refused, or kept, alone."""
    rows = [judgement("good"), judgement("bad", **fields), judgement("well")]
    async with running_service(database) as (_, recorder):
        waiting = [recorder.store(row) for row in rows]
        ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert [end.id for end in (ends[0], ends[2])] == ["good", "well"]  # type: ignore[union-attr]
    assert isinstance(ends[1], RowRejectedError) or ends[1].id == "bad"  # type: ignore[union-attr]
