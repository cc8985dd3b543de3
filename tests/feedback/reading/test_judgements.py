"""The log as training reads it."""

import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest

from feedback.answer_parts import AnswerParts, ToolCall
from feedback.reading.judgement_queries import LogWindow
from feedback.reading.judgements import (
    JudgedConversation,
    Judgement,
    asked_prompts,
    judged_conversations,
)
from feedback.records import pack
from retrain.dataset.filters import Filter, RaterRules
from server.database.database import Database
from tests.retrain.log import CHANNEL, TENANT, Log

pytestmark = pytest.mark.anyio
SATURDAY = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def log() -> Log:
    return Log(SATURDAY)


def window(
    log: Log, since: datetime | None = None, tenants: frozenset[str] | None = None
) -> LogWindow:
    return LogWindow(CHANNEL, tenants or frozenset({TENANT}), since, log.now)


async def read(
    database: Database, log: Log, quota: int = 25, since: datetime | None = None
) -> list[JudgedConversation]:
    await log.write(database)
    stream = judged_conversations(database, window(log, since), RaterRules(quota).excluded)
    return [conversation async for conversation in stream]


async def words(database: Database, log: Log, quota: int = 25) -> list[Judgement]:
    return [word for found in await read(database, log, quota) for word in found.judgements]


async def test_a_conversation_brings_question_answers_and_judgements(
    database: Database, log: Log
) -> None:
    better, worse = log.ask("hours?", "nine to five"), log.ask("hours?", "go away")
    log.prefer(better, worse)
    (found,) = await read(database, log)
    assert found.messages == [{"role": "user", "content": "hours?"}]
    assert [answer.text for answer in found.answers] == ["nine to five", "go away"]
    assert found.answers[0].prompt_token_ids == (1, 2, 3)
    assert [word.metric_name for word in found.judgements] == ["preference"]


async def test_more_conversations_than_a_batch_come_in_order(database: Database, log: Log) -> None:
    for number in range(120):
        log.say("thumbs", log.ask(f"question {number}", "answer", user=f"u{number}"), True)
    found = await read(database, log)
    assert len(found) == 120
    assert [c.conversation for c in found] == sorted(c.conversation for c in found)
    assert all(len(c.answers) == len(c.judgements) == 1 for c in found)


async def peak_of_reading(database: Database, log: Log) -> int:
    """Bytes held at most while all that was ever said is read."""
    stream = judged_conversations(database, window(log), RaterRules(25).excluded)
    tracemalloc.start()
    try:
        assert [True async for _ in stream]
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_memory_does_not_grow_with_the_log(database: Database, log: Log) -> None:
    async def peak(conversations: int) -> int:
        for number in range(conversations):
            asked = log.ask(f"{log.prefix} question {number}", "answer" * 100, user=f"u{number}")
            log.say("demonstration", asked, "better" * 100)
        await log.write(database)
        log.rows.clear()
        return await peak_of_reading(database, log)

    few = await peak(100)
    log.prefix = "more"
    assert await peak(900) < 2 * few


async def test_crowded_conversations_do_not_pile_up_in_memory(database: Database, log: Log) -> None:
    async def peak(questions: int) -> int:
        for number in range(questions * 100):
            asked = log.ask(f"{log.prefix} {number % questions}", "answer", user=f"u{number}")
            log.rows[-2].prompt_token_ids = pack(list(range(1000, 1500)))
            log.say("thumbs", asked, True)
        await log.write(database)
        log.rows.clear()
        return await peak_of_reading(database, log)

    few = await peak(5)
    log.prefix = "more"
    assert await peak(20) < 2 * few


@pytest.mark.parametrize("mode", ["shadow", "evaluation", "counterpart"])
async def test_what_no_user_saw_never_enters(database: Database, log: Log, mode: str) -> None:
    log.say("thumbs", log.ask("hours?", "nine", mode=mode), True)
    assert await read(database, log) == []


async def test_only_the_last_word_of_a_rater_counts(database: Database, log: Log) -> None:
    asked = log.ask("hours?", "nine")
    log.say("thumbs", asked, True)
    log.say("thumbs", asked, False)
    (found,) = await read(database, log)
    assert [word.value for word in found.judgements] == [False]
    assert found.left_out == {Filter.SUPERSEDED: 1}


async def test_words_on_other_choices_are_kept_apart(database: Database, log: Log) -> None:
    asked = log.ask("hours?", "nine", "ten")
    log.say("thumbs", asked, True, choice=0)
    log.say("thumbs", asked, False, choice=1)
    assert len(await words(database, log)) == 2


async def test_preferences_over_different_answers_are_different_words(
    database: Database, log: Log
) -> None:
    best, second, third = (log.ask("hours?", text) for text in ("nine", "ten", "no"))
    log.prefer(best, second)
    log.prefer(best, third)
    assert len(await words(database, log)) == 2


async def test_the_rater_is_the_one_named_then_the_user_then_the_thread(
    database: Database, log: Log
) -> None:
    named, anonymous = log.ask("hours?", "nine"), log.ask("hours?", "ten", user=None)
    log.say("thumbs", named, True, rater="expert")
    log.say("thumbs", named, True)
    log.say("thumbs", anonymous, True)
    found = await words(database, log)
    assert [(word.rater.split(":")[0], word.anonymous) for word in found] == [
        ("expert", False),
        ("ann", False),
        ("anonymous", True),
    ]


async def test_a_raters_events_of_a_week_are_capped_earliest_first(
    database: Database, log: Log
) -> None:
    for number in range(5):
        log.say("thumbs", log.ask(f"question {number}", "answer"), True)
    found = await read(database, log, quota=3)
    kept = sorted(word.id for conversation in found for word in conversation.judgements)
    assert kept == ["feedback-000002", "feedback-000005", "feedback-000008"]
    assert sum(conversation.left_out.get(Filter.OVER_QUOTA, 0) for conversation in found) == 2


async def test_the_cap_starts_anew_on_monday(database: Database, log: Log) -> None:
    asked = [log.ask(f"question {number}", "answer") for number in range(4)]
    log.now = datetime(2026, 11, 22, 23, 59, 50, tzinfo=UTC)
    for identifier in asked[:2]:
        log.say("thumbs", identifier, True)
    log.now = datetime(2026, 11, 23, 0, 0, 0, tzinfo=UTC)
    for identifier in asked[2:]:
        log.say("thumbs", identifier, True)
    assert len(await words(database, log, quota=1)) == 2


async def test_a_week_that_a_run_cut_in_two_has_one_quota(database: Database, log: Log) -> None:
    for number in range(3):
        log.say("thumbs", log.ask(f"before {number}", "answer"), True)
    cut_off = log.now
    for number in range(3):
        log.say("thumbs", log.ask(f"after {number}", "answer"), True)
    found = await read(database, log, quota=4, since=cut_off)
    assert sum(len(conversation.judgements) for conversation in found) == 1
    assert sum(conversation.left_out.get(Filter.OVER_QUOTA, 0) for conversation in found) == 2


async def test_a_programs_word_takes_back_no_persons(database: Database, log: Log) -> None:
    asked = log.ask("hours?", "nine")
    log.say("thumbs", asked, False)
    log.say("thumbs", asked, True, source="LLM_JUDGE")
    assert [word.value for word in await words(database, log)] == [False, True]


async def test_superseded_words_use_up_no_quota(database: Database, log: Log) -> None:
    first, second = log.ask("hours?", "nine"), log.ask("prices?", "ten")
    for _ in range(3):
        log.say("thumbs", first, True)
    log.say("thumbs", second, True)
    assert len(await words(database, log, quota=2)) == 2


async def test_anonymous_threads_have_a_quota_each(database: Database, log: Log) -> None:
    for number in range(3):
        log.say("thumbs", log.ask(f"question {number}", "answer", user=None), True)
    assert len(await words(database, log, quota=1)) == 3


async def test_a_user_who_calls_himself_anonymous_is_another_rater(
    database: Database, log: Log
) -> None:
    asked = log.ask("hours?", "nine", user=None)
    thread = log.rows[0].thread
    log.say("thumbs", asked, True)
    log.say("thumbs", asked, False, rater=f"anonymous:{thread}")
    assert len(await words(database, log)) == 2


async def test_the_window_is_open_at_its_start_and_closed_at_its_end(
    database: Database, log: Log
) -> None:
    asked = log.ask("hours?", "nine")
    log.say("thumbs", asked, True, rater="early")
    early = log.now
    log.say("thumbs", asked, True, rater="late")
    (found,) = await read(database, log, since=early)
    assert [word.rater for word in found.judgements] == ["late"]


async def test_other_channels_and_tenants_stay_out(database: Database, log: Log) -> None:
    log.say("thumbs", log.ask("hours?", "nine", channel="other"), True)
    log.tenant = "rival"
    log.say("thumbs", log.ask("hours?", "nine"), True)
    assert await read(database, log) == []


async def test_feedback_of_an_answer_that_is_not_stored_waits(database: Database, log: Log) -> None:
    log.say("thumbs", "chatcmpl-not-there", True)
    assert await read(database, log) == []


async def test_comments_are_no_comparison(database: Database, log: Log) -> None:
    log.say("comment", log.ask("hours?", "nine"), "nice")
    assert await read(database, log) == []


async def test_prompts_come_from_those_who_are_kept(database: Database, log: Log) -> None:
    log.ask("hours?", "nine", user="ann")
    log.ask("prices?", "ten", user="bob")
    log.ask("prices?", "ten", user="bob", status="aborted")
    log.ask("prices?", "ten", user="bob", mode="evaluation")
    log.ask("prices?", "ten", user="bob", mode="counterpart")
    await log.write(database)
    stream = asked_prompts(database, window(log), lambda _, requester: requester == "bob")
    found = [prompt async for prompt in stream]
    assert [prompt.request["messages"][0]["content"] for prompt in found] == ["prices?"]
    assert found[0].tenant == TENANT


async def test_prompts_outside_the_window_are_not_asked_again(database: Database, log: Log) -> None:
    log.ask("hours?", "nine")
    await log.write(database)
    later = window(log, since=log.now + timedelta(days=1))
    assert [p async for p in asked_prompts(database, later, lambda *_: True)] == []


async def test_a_demonstration_brings_the_request_of_its_own_answer(
    database: Database, log: Log
) -> None:
    messages = [{"role": "user", "content": "hours?"}]
    off = {"messages": messages, "chat_template_kwargs": {"enable_thinking": False}}
    log.ask("hours?", "nine")
    second = log.ask("hours?", "ten", request=off)
    third = log.ask("hours?", "noon")
    log.say("demonstration", second, "at nine")
    log.prefer(second, third)
    (found,) = await read(database, log)
    assert found.requests == {second: off}


async def test_an_answer_brings_the_message_that_was_served(database: Database, log: Log) -> None:
    function = {"name": "price", "arguments": "{}"}
    message = {"role": "assistant", "content": None, "tool_calls": [{"function": function}]}
    called = log.ask("hours?", "<tool_call>")
    log.rows[-1].message = message
    said = log.ask("hours?", "nine")
    log.prefer(called, said)
    (found,) = await read(database, log)
    parts = {answer.interaction_id: answer.parts for answer in found.answers}
    assert parts[called] == AnswerParts(calls=(ToolCall("price", "{}"),))
    assert parts[said] == AnswerParts("nine")
