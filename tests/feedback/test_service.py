import asyncio
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import func
from sqlmodel import col, select

from feedback.config import FeedbackConfig
from feedback.errors import (
    ConflictError,
    InteractionNotFoundError,
    InvalidInputError,
    StoreUnavailableError,
)
from feedback.models import Feedback, Interaction
from feedback.recorder.recorder import Recorder
from feedback.schemas import FeedbackIn, InteractionIn, problems
from feedback.service import FeedbackService
from server.database.database import Database
from tests.feedback.examples import (
    IDS,
    NOW,
    TENANT,
    TOKENS,
    CountingObserver,
    interaction,
    new_id,
    running_service,
)
from tests.feedback.recorder.test_recorder import FailingDatabase

pytestmark = pytest.mark.anyio


def said(id_: str, **fields: Any) -> FeedbackIn:
    given = {"inference_id": id_, "metric_name": "thumbs", "value": True}
    return FeedbackIn.model_validate({**given, **fields})


def report(**fields: Any) -> InteractionIn:
    given = {
        "model": "other",
        "messages": [{"role": "user", "content": "hi"}],
        "choices": [{"text": "hello", "finish_reason": "stop"}],
    }
    return InteractionIn.model_validate({**given, **fields})


async def reported(service: FeedbackService, **fields: Any) -> str:
    """Report an interaction; its id."""
    return (await service.upsert(TENANT, "key", "pawl", report(**fields))).id


async def rows_of(database: Database, table: type[Feedback] | type[Interaction]) -> int:
    async with database.read() as session:
        return (await session.exec(select(func.count(col(table.id))))).one()


async def test_feedback_is_shown_with_its_interaction(database: Database) -> None:
    observer = CountingObserver()
    async with running_service(database, observer=observer) as (service, recorder):
        record = interaction(user="anna")
        await recorder.record(record)
        id_ = await service.submit(TENANT, "key", said(record.id, tags={"page": "shop"}))
        shown = await service.interaction(TENANT, record.id)
    assert [(word.id, word.value, word.tags) for word in shown.feedback] == [
        (id_, True, {"page": "shop"})
    ]
    assert (shown.user, shown.choices[0].text, shown.received_at) == ("anna", "hello", NOW)
    assert observer.stored == [("thumbs", "base")]


async def test_feedback_may_come_before_its_interaction(database: Database) -> None:
    async with running_service(database) as (service, recorder):
        id_ = new_id()
        await service.submit(TENANT, None, said(id_))
        await recorder.record(interaction(id_))
        assert len((await service.interaction(TENANT, id_)).feedback) == 1


ANOTHERS = "another tenant's"


@pytest.mark.parametrize("given", ["nonsense", ANOTHERS, "chatcmpl-" + "a" * 36])
async def test_what_is_not_the_tenants_is_not_found(database: Database, given: str) -> None:
    id_ = new_id("other") if given == ANOTHERS else given
    async with running_service(database) as (service, _):
        with pytest.raises(InteractionNotFoundError, match="inference_id"):
            await service.submit(TENANT, None, said(id_))
        over = said(new_id(), metric_name="preference", value={"over": id_})
        with pytest.raises(InteractionNotFoundError, match="value"):
            await service.submit(TENANT, None, over)
        with pytest.raises(InteractionNotFoundError):
            await service.interaction(TENANT, id_)
    assert await rows_of(database, Feedback) == 0


async def test_an_authentic_id_that_is_not_stored_is_not_shown(database: Database) -> None:
    async with running_service(database) as (service, _):
        with pytest.raises(InteractionNotFoundError):
            await service.interaction(TENANT, new_id())


async def test_the_same_post_again_is_the_same_feedback(database: Database) -> None:
    async with running_service(database) as (service, _):
        feedback = said(new_id(), id="mine")
        posts = [service.submit(TENANT, None, feedback) for _ in range(10)]
        assert set(await asyncio.gather(*posts)) == {"mine"}
        with pytest.raises(ConflictError):
            await service.submit(TENANT, None, feedback.model_copy(update={"value": False}))
    assert await rows_of(database, Feedback) == 1


async def test_a_tie_under_the_id_of_a_preference_is_a_conflict(database: Database) -> None:
    async with running_service(database) as (service, _):
        one, other = new_id(), new_id()
        word = said(one, metric_name="preference", value={"over": other}, id="mine")
        await service.submit(TENANT, None, word)
        for value in ({"tie": other}, {"both_bad": other}):
            with pytest.raises(ConflictError):
                await service.submit(TENANT, None, word.model_copy(update={"value": value}))


async def test_ties_and_groups_are_shown_as_they_were_sent(database: Database) -> None:
    async with running_service(database) as (service, recorder):
        records = [interaction() for _ in range(3)]
        await asyncio.gather(*map(recorder.record, records))
        a, b, c = (record.id for record in records)
        for metric, value in (
            ("preference", {"tie": b}),
            ("preference", {"both_bad": c}),
            ("ranking", [b, [a, c]]),
        ):
            await service.submit(TENANT, None, said(a, metric_name=metric, value=value))
        shown = [one.value for one in (await service.interaction(TENANT, a)).feedback]
    group = [{"id": a, "choice": 0}, {"id": c, "choice": 0}]
    assert shown == [
        {"tie": b, "choice": 0},
        {"both_bad": c, "choice": 0},
        [{"id": b, "choice": 0}, group],
    ]


async def test_fifty_posts_at_once_are_fifty_rows(database: Database) -> None:
    async with running_service(database) as (service, _):
        posts = [service.submit(TENANT, None, said(new_id())) for _ in range(50)]
        ids = await asyncio.gather(*posts)
    assert len(set(ids)) == 50
    assert await rows_of(database, Feedback) == 50


async def test_a_choice_that_is_not_there_is_refused(database: Database) -> None:
    async with running_service(database) as (service, recorder):
        record = interaction(texts=["one", "two"])
        await recorder.record(record)
        await service.submit(TENANT, None, said(record.id, choice=1))
        with pytest.raises(InvalidInputError, match="choice"):
            await service.submit(TENANT, None, said(record.id, choice=2))
        with pytest.raises(InvalidInputError, match="choice"):
            await service.submit(TENANT, None, said(record.id))


async def test_only_answers_to_one_conversation_are_compared(database: Database) -> None:
    async with running_service(database) as (service, recorder):
        first, same, other = interaction(), interaction(), interaction(question="else")
        await asyncio.gather(*map(recorder.record, (first, same, other)))
        fine = said(first.id, metric_name="preference", value={"over": same.id})
        await service.submit(TENANT, None, fine)
        for wrong in (
            said(first.id, metric_name="preference", value={"over": other.id}),
            said(first.id, metric_name="ranking", value=[same.id, first.id, other.id]),
            said(first.id, metric_name="preference", value={"tie": other.id}),
            said(first.id, metric_name="preference", value={"both_bad": other.id}),
            said(first.id, metric_name="ranking", value=[[same.id, other.id], first.id]),
        ):
            with pytest.raises(InvalidInputError, match="value"):
                await service.submit(TENANT, None, wrong)


async def test_feedback_is_not_acknowledged_while_the_database_is_away(
    database: Database,
) -> None:
    config = FeedbackConfig(acknowledge_seconds=0.05, retry_seconds=0.001)
    away = FailingDatabase(database, failures=float("inf"))
    recorder = Recorder(away, config, CountingObserver())
    await recorder.start()
    impatient = FeedbackService(away, recorder, IDS, TOKENS, config, lambda: NOW)
    patient = FeedbackService(away, recorder, IDS, TOKENS, FeedbackConfig(), lambda: NOW)
    feedback = said(new_id(), id="mine")
    with pytest.raises(StoreUnavailableError):
        await impatient.submit(TENANT, None, feedback)
    away.failures = 0
    assert await patient.submit(TENANT, None, feedback) == "mine"
    await recorder.close()
    assert await rows_of(database, Feedback) == 1


async def test_another_models_answer_can_be_reported_and_rated(database: Database) -> None:
    async with running_service(database) as (service, _):
        id_ = await reported(
            service, run_id="r", user="u", tags={"page": "shop"}, temperature=0, stop=["\n"]
        )
        await service.submit(TENANT, "key", said(id_))
        shown = await service.interaction(TENANT, id_)
    assert (shown.mode, shown.model, shown.version, shown.run_id) == (
        "external",
        "other",
        None,
        "r",
    )
    assert shown.request is not None
    assert shown.request["metadata"] == {"page": "shop"}
    assert (shown.request["temperature"], shown.request["stop"]) == (0, ["\n"])
    assert len(shown.feedback) == 1


async def test_one_run_gets_one_id_however_often_it_is_reported(database: Database) -> None:
    async with running_service(database) as (service, _):
        posts = [service.upsert(TENANT, None, "pawl", report(run_id="r")) for _ in range(5)]
        stored = await asyncio.gather(*posts)
        stored.append(await service.upsert(TENANT, None, "pawl", report(run_id="r")))
        other = await service.upsert("other", None, "pawl", report(run_id="r"))
    assert len({one.id for one in stored}) == 1
    assert [one.new for one in stored].count(True) == 1
    assert other.id != stored[0].id


async def test_a_report_does_not_overwrite_what_the_server_answered(
    database: Database,
) -> None:
    async with running_service(database) as (service, recorder):
        own = interaction()
        await recorder.record(own)
        assert await reported(service, id=own.id) == own.id
        assert (await service.interaction(TENANT, own.id)).mode == "live"


@pytest.mark.parametrize("field", ["id", "parent"])
async def test_a_report_cannot_make_up_ids(database: Database, field: str) -> None:
    async with running_service(database) as (service, _):
        with pytest.raises(InteractionNotFoundError, match=field):
            await service.upsert(TENANT, None, "pawl", report(**{field: new_id("other")}))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"messages": None}, "messages"),
        ({"prompt": "both"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages"),
        ({"messages": [{"role": "user", "content": 2**70}]}, "messages"),
        ({"tools": [{"name": "\ud800"}]}, "tools"),
        ({"choices": [{"text": "x"}] * 20}, "choices"),
        ({"model": "m" * 300}, "model"),
        ({"tags": {"k": "v" * 300}}, "tags"),
    ],
)
async def test_an_unfit_report_is_refused_by_name(
    database: Database, fields: dict[str, Any], named: str
) -> None:
    async with running_service(database) as (service, _):
        with pytest.raises(InvalidInputError) as refused:
            await service.upsert(TENANT, None, "pawl", report(**fields))
    assert refused.value.problems[0].field == named


@pytest.mark.parametrize("stop", [5, "", [], [1], ["a", ""], ["a"] * 65, {"a": 1}, ["\x00"]])
def test_a_stop_that_is_none_is_told_in_one_sentence(stop: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        InteractionIn(model="other", stop=stop)
    (problem,) = problems(refused.value, InteractionIn)
    expected = "must be a text or a list of 1 to 64 texts, none empty"
    assert (problem.field, problem.message) == ("stop", expected)
