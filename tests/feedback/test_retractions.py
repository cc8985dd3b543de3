"""Words that are taken back: by null, by id, and read by nobody afterwards."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.config import FeedbackConfig, MetricConfig
from feedback.errors import FeedbackNotFoundError, InvalidInputError, StoreUnavailableError
from feedback.models import Interaction
from feedback.reading.comparisons import decided_comparisons, is_decided
from feedback.reading.judgement_queries import LogWindow
from feedback.reading.judgements import JudgedConversation, judged_conversations
from feedback.reading.latest_judgements import ALL_EARLIER
from feedback.reading.trials import votes, votes_before
from feedback.schemas import FeedbackIn
from feedback.service import FeedbackService
from feedback.validation import check
from retrain.dataset.filters import Filter, RaterRules
from server.database.database import Database
from tests.feedback.examples import NOW, TENANT, CountingObserver, interaction, running_service
from tests.feedback.spool.spooling import spooling
from tests.retrain.log import CHANNEL, Log
from tests.retrain.log import TENANT as LOG_TENANT

CONFIG = FeedbackConfig(metrics={"solved": MetricConfig(type="boolean")})
METRICS = ["thumbs", "rating", "comment", "demonstration", "preference", "ranking", "solved"]
CANARY: dict[str, Any] = {"trial": "salt", "trial_share": 0.05, "role": "canary"}


def word(about: str, value: Any, metric: str = "thumbs", **more: Any) -> FeedbackIn:
    return FeedbackIn.model_validate(
        {"inference_id": about, "metric_name": metric, "value": value, **more}
    )


async def shown(service: FeedbackService, about: str) -> list[tuple[str, Any]]:
    found = (await service.interaction(TENANT, about)).feedback
    return [(one.metric_name, one.value) for one in found]


@given(st.sampled_from(METRICS))
def test_null_takes_back_whatever_the_metric(metric: str) -> None:
    assert check(word("a", None, metric), CONFIG).value is None


def test_null_of_an_unknown_metric_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="metric_name"):
        check(word("a", None, "unheard_of"), CONFIG)


pytestmark = pytest.mark.anyio


async def test_null_takes_the_word_back_and_a_later_word_counts_again(database: Database) -> None:
    async with running_service(database) as (service, recorder):
        record = interaction()
        await recorder.record(record)
        for value, left in ((True, [True]), (None, []), (None, []), (False, [False])):
            await service.submit(TENANT, None, word(record.id, value))
            assert await shown(service, record.id) == [("thumbs", one) for one in left]


async def test_null_is_said_by_one_rater_of_one_metric(database: Database) -> None:
    async with running_service(database) as (service, recorder):
        record = interaction(user="ann")
        await recorder.record(record)
        for fields in ({}, {"rater": "bob"}, {"source": "CODE"}):
            await service.submit(TENANT, None, word(record.id, True, **fields))
        await service.submit(TENANT, None, word(record.id, 4, "rating"))
        await service.submit(TENANT, None, word(record.id, None, rater="ann"))
        left = (await service.interaction(TENANT, record.id)).feedback
    assert [(one.metric_name, one.rater, one.source) for one in left] == [
        ("thumbs", "bob", "HUMAN"),
        ("thumbs", None, "CODE"),
        ("rating", None, "HUMAN"),
    ]


async def test_of_several_choices_the_one_that_is_meant_is_taken_back(database: Database) -> None:
    async with running_service(database) as (service, recorder):
        record = interaction(texts=("one", "two"))
        await recorder.record(record)
        for choice in (0, 1):
            await service.submit(TENANT, None, word(record.id, True, choice=choice))
        with pytest.raises(InvalidInputError, match="choice"):
            await service.submit(TENANT, None, word(record.id, None))
        await service.submit(TENANT, None, word(record.id, None, choice=1))
        left = (await service.interaction(TENANT, record.id)).feedback
    assert [one.choice for one in left] == [0]


async def test_one_word_is_taken_back_by_its_id_as_often_as_one_likes(database: Database) -> None:
    async with running_service(database) as (service, recorder):
        record = interaction()
        await recorder.record(record)
        first = await service.submit(TENANT, None, word(record.id, "good", "comment"))
        await service.submit(TENANT, None, word(record.id, "quick", "comment"))
        again = {await service.take_back(TENANT, None, first) for _ in range(3)}
        assert len(again) == 1
        assert await shown(service, record.id) == [("comment", "quick")]


async def test_an_older_word_taken_back_leaves_the_last_one(database: Database) -> None:
    async with running_service(database) as (service, recorder):
        record = interaction()
        await recorder.record(record)
        older = await service.submit(TENANT, None, word(record.id, True))
        last = await service.submit(TENANT, None, word(record.id, False))
        await service.take_back(TENANT, None, older)
        assert await shown(service, record.id) == [("thumbs", False)]
        await service.take_back(TENANT, None, last)
        assert await shown(service, record.id) == []


async def test_what_is_not_there_cannot_be_taken_back(database: Database) -> None:
    async with running_service(database) as (service, recorder):
        record = interaction()
        await recorder.record(record)
        said = await service.submit(TENANT, None, word(record.id, True))
        for tenant, identifier in (("other", said), (TENANT, "unknown")):
            with pytest.raises(FeedbackNotFoundError):
                await service.take_back(tenant, None, identifier)
        retraction = await service.take_back(TENANT, None, said)
        with pytest.raises(InvalidInputError, match="feedback_id"):
            await service.take_back(TENANT, None, retraction)


async def test_a_retraction_is_counted_apart(database: Database) -> None:
    observer = CountingObserver()
    async with running_service(database, observer=observer) as (service, recorder):
        record = interaction()
        await recorder.record(record)
        await service.submit(TENANT, None, word(record.id, True))
        await service.submit(TENANT, None, word(record.id, None))
    assert observer.stored == [("thumbs", "base")]
    assert observer.retracted == ["thumbs"]


async def test_null_is_durable_while_the_database_is_away(
    database: Database, tmp_path: Any
) -> None:
    record = interaction()
    async with spooling(database, tmp_path) as log:
        await log.recorder.record(record)
        said = await log.service.submit(TENANT, None, word(record.id, True))
        log.database.away = True
        await log.service.submit(TENANT, None, word(record.id, None))
        with pytest.raises(StoreUnavailableError):  # it may be in the spool
            await log.service.take_back(TENANT, None, f"{said}-other")
        log.database.away = False
        await log.caught_up()
        assert await shown(log.service, record.id) == []


async def judged(database: Database, log: Log) -> list[JudgedConversation]:
    await log.write(database)
    window = LogWindow(CHANNEL, frozenset({LOG_TENANT}), None, log.now)
    return [one async for one in judged_conversations(database, window, RaterRules(25).excluded)]


def take_back(log: Log, about: str, metric: str = "thumbs", retracts: str = ALL_EARLIER) -> None:
    log.say(metric, about, None, retracts=retracts)


async def test_what_was_taken_back_is_not_trained_on(database: Database) -> None:
    log = Log(NOW)
    by_null, by_id = log.ask("hours?", "nine"), log.ask("prices?", "ten", user="bob")
    kept = log.ask("where?", "here", user="cleo")
    log.say("thumbs", by_null, True)
    take_back(log, by_null)
    take_back(log, by_id, retracts=log.say("thumbs", by_id, True))
    log.say("thumbs", kept, True)
    take_back(log, kept, "rating")
    found = await judged(database, log)
    assert [word.interaction_id for one in found for word in one.judgements] == [kept]
    assert sum(one.left_out.get(Filter.TAKEN_BACK, 0) for one in found) == 2


async def test_null_takes_back_all_preferences_for_an_answer(database: Database) -> None:
    log = Log(NOW)
    best, second, third = (log.ask("hours?", text) for text in ("nine", "ten", "no"))
    log.prefer(best, second)
    log.prefer(best, third)
    log.prefer(second, third)
    take_back(log, best, "preference")
    (found,) = await judged(database, log)
    assert [word.interaction_id for word in found.judgements] == [second]


async def test_what_was_taken_back_after_the_cut_off_still_counts(database: Database) -> None:
    log = Log(NOW)
    asked, other = log.ask("hours?", "nine"), log.ask("prices?", "ten")
    log.say("thumbs", asked, True)
    named = log.say("thumbs", other, True)
    cut_off = log.now
    take_back(log, asked)
    take_back(log, other, retracts=named)
    await log.write(database)
    window = LogWindow(CHANNEL, frozenset({LOG_TENANT}), None, cut_off)
    stream = judged_conversations(database, window, RaterRules(25).excluded)
    assert [len(one.judgements) async for one in stream] == [1, 1]


async def test_words_taken_back_use_up_no_quota(database: Database) -> None:
    log = Log(NOW)
    for number in range(4):
        asked = log.ask(f"question {number}", "answer")
        log.say("thumbs", asked, True)
        if number < 3:
            take_back(log, asked)
    await log.write(database)
    window = LogWindow(CHANNEL, frozenset({LOG_TENANT}), None, log.now)
    stream = judged_conversations(database, window, RaterRules(1).excluded)
    assert sum([len(one.judgements) async for one in stream]) == 1


async def test_a_vote_taken_back_or_changed_is_no_vote_of_a_trial(database: Database) -> None:
    log = Log(NOW)
    for user in ("ann", "bob", "cleo"):
        asked = log.ask("one", "yes", user=user, **CANARY)
        named = log.say("thumbs", asked, True)
        match user:
            case "ann":
                take_back(log, asked)
            case "bob":
                take_back(log, asked, retracts=named)
            case _:
                log.say("thumbs", asked, False)
    await log.write(database)
    heard = await votes(database, "salt", {"thumbs"})
    assert [(one.user[1], one.value, one.at) for one in heard] == [("cleo", False, log.now)]


async def test_lives_votes_are_those_that_stood_at_the_time(database: Database) -> None:
    log = Log(NOW)
    gone, changed = log.ask("one", "yes", version="old"), log.ask("two", "yes", version="old")
    log.say("thumbs", gone, True)
    take_back(log, gone)
    log.say("thumbs", changed, True)
    until = log.now
    take_back(log, changed)
    await log.write(database)
    since = NOW - timedelta(days=1)
    heard = await votes_before(database, CHANNEL, "old", {"thumbs"}, since, until)
    assert [one.value for one in heard] == [True]


async def test_a_comparison_taken_back_is_undecided_and_stays_open(database: Database) -> None:
    log = Log(NOW)
    for name, user in (("one", "ann"), ("two", "bob")):
        sides = [
            log.ask(name, version, user=user, version=version, comparison=name)
            for version in ("live-1", "canary-1")
        ]
        log.prefer(sides[1], sides[0])
        if name == "one":
            take_back(log, sides[1], "preference")
            log.prefer(sides[0], sides[1])  # said after the pair was opened
    await log.write(database)
    versions = ("live-1", "canary-1")
    found = await decided_comparisons(database, CHANNEL, versions, NOW)
    assert [one.user[1] for one in found] == ["bob"]
    async with database.read() as session:
        side = next(row for row in log.rows if isinstance(row, Interaction))
        assert await is_decided(await session.connection(), side)
