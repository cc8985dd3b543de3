"""What a user does after an answer is found by the hash of what was answered."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.answer_parts import AnswerParts, ToolCall
from feedback.reading.follow_ups import (
    EACH_MAX,
    OPEN_MAX,
    AnsweredRequest,
    TrackedConversation,
    Tracker,
    Tracking,
)
from feedback.reading.next_messages import next_message, same_answer
from feedback.records import conversation_hash

pytestmark = pytest.mark.pure
TENANT = "shop"
MONDAY = datetime(2026, 11, 16, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
Request = Mapping[str, Any]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def request(*messages: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def asked(number: int, content: Request, at: timedelta = timedelta()) -> AnsweredRequest:
    moment = MONDAY + at
    return AnsweredRequest(str(number), conversation_hash(TENANT, content), moment, moment)


def tracked(
    *requests: tuple[timedelta, Request], tracking: Tracking | None = None
) -> list[TrackedConversation]:
    tracker = Tracker(TENANT, tracking or Tracking(HOUR))
    found = [
        one
        for number, (at, content) in enumerate(requests)
        for one in tracker.add(asked(number, content, at), content)
    ]
    return found + tracker.close()


MINUTE = timedelta(minutes=1)
HOURS = request(user("hours?"))
THANKS = request(user("hours?"), answer("nine"), user("thanks"))


def test_the_next_message_names_the_conversation_that_was_answered() -> None:
    found = next_message(TENANT, THANKS)
    assert found is not None
    assert found.conversation == conversation_hash(TENANT, HOURS)
    assert (found.answer, found.text) == (AnswerParts("nine"), "thanks")


def test_parts_of_text_are_read_as_text() -> None:
    parts = [{"type": "text", "text": "thanks"}, {"type": "image_url", "image_url": {}}]
    spelled = answer("nine") | {"content": [{"type": "text", "text": "nine"}]}
    found = next_message(TENANT, request(user("hours?"), spelled, user("") | {"content": parts}))
    assert found is not None
    assert (found.answer, found.text) == (AnswerParts("nine"), "thanks")


def test_the_conversation_of_a_next_message_includes_the_tools_that_were_called() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "hours", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "c", "content": "9-17"}
    before = [user("hours?"), answer("", tool_calls=[call]), result]
    found = next_message(TENANT, request(*before, answer("nine"), user("thanks"), tools=[{}]))
    assert found is not None
    assert found.conversation == conversation_hash(TENANT, request(*before, tools=[{}]))


@pytest.mark.parametrize(
    "content",
    [
        HOURS,
        request(user("hours?"), answer("nine")),
        request(user("hours?"), answer(""), {"role": "tool", "content": "9-17"}),
        request(),
        {"prompt": "hours?"},
        {"messages": ["odd"]},
    ],
)
def test_a_request_without_a_users_word_after_an_answer_has_no_next_message(
    content: Request,
) -> None:
    assert next_message(TENANT, content) is None


def test_white_space_around_an_answer_makes_no_difference_but_calls_do() -> None:
    call = ToolCall("hours", "{}")
    assert same_answer(AnswerParts(" nine\n"), AnswerParts("nine"))
    assert not same_answer(AnswerParts("nine"), AnswerParts("nine", (call,)))


def test_a_question_asked_again_is_a_repeat() -> None:
    (found,) = tracked((timedelta(), HOURS), (MINUTE, HOURS))
    assert [one.id for one in found.attempts] == ["0", "1"]
    assert found.repeats == {"1": 1}


def test_a_next_message_is_found_whatever_was_asked_in_between() -> None:
    other = request(user("prices?"))
    (found,) = tracked((timedelta(), HOURS), (MINUTE, other), (2 * MINUTE, THANKS))
    assert [one.message.text for one in found.follow_ups] == ["thanks"]


def test_one_question_alone_is_nothing() -> None:
    assert tracked((timedelta(), HOURS), (MINUTE, request(user("prices?")))) == []


def test_what_comes_late_follows_nothing() -> None:
    assert tracked((timedelta(), HOURS), (2 * HOUR, HOURS), (4 * HOUR, THANKS)) == []


@pytest.mark.parametrize(
    "later",
    [
        request({"role": "system", "content": "new"}, *THANKS["messages"]),
        {**THANKS, "tools": [{"type": "function", "function": {"name": "hours"}}]},
    ],
)
def test_a_changed_beginning_or_changed_tools_match_nothing_and_are_counted(
    later: Request,
) -> None:
    tracker = Tracker(TENANT, Tracking(HOUR))
    tracker.add(asked(0, HOURS), HOURS)
    tracker.add(asked(1, later, MINUTE), later)
    assert (tracker.close(), tracker.unmatched) == ([], 1)


def test_a_next_message_that_is_sent_again_is_one_follow_up() -> None:
    first, second = tracked((timedelta(), HOURS), (MINUTE, THANKS), (2 * MINUTE, THANKS))
    assert [len(first.follow_ups), len(second.repeats)] == [1, 1]


def test_places_go_up_within_a_week_and_start_anew_on_monday() -> None:
    days = [timedelta(days=number, minutes=minute) for number in (0, 1, 7) for minute in (0, 1)]
    found = tracked(*((at, HOURS) for at in days))
    assert [place for one in found for place in one.repeats.values()] == [1, 2, 1]


def test_a_signal_that_is_not_used_takes_no_place() -> None:
    requests = ((timedelta(), HOURS), (MINUTE, HOURS), (2 * MINUTE, THANKS))
    (found,) = tracked(*requests, tracking=Tracking(HOUR, repeated=False))
    assert found.repeats == {}
    assert [one.place_in_week for one in found.follow_ups] == [1]
    (found,) = tracked(*requests, tracking=Tracking(HOUR, next_messages=False))
    assert found.repeats == {"1": 1}


def test_the_conversations_of_one_user_that_are_followed_are_bounded() -> None:
    tracker = Tracker(TENANT, Tracking(HOUR))
    for number in range(OPEN_MAX + 1):
        content = request(user(f"question {number}"))
        tracker.add(asked(number, content), content)
    again = request(user("question 0"))
    tracker.add(asked(-1, again, MINUTE), again)
    assert tracker.close() == []


@given(st.integers(1, 3 * EACH_MAX))
def test_repeats_of_one_question_are_bounded(times: int) -> None:
    found = tracked(*((number * MINUTE, HOURS) for number in range(times)))
    kept = max((len(one.attempts) for one in found), default=1)
    assert kept == min(times, EACH_MAX)


@given(st.lists(st.tuples(st.integers(0, 90), st.sampled_from("abc")), max_size=30))
def test_no_repeat_follows_its_question_by_more_than_the_limit(
    steps: list[tuple[int, str]],
) -> None:
    at, requests = timedelta(), []
    for minutes, text in steps:
        at += minutes * MINUTE
        requests.append((at, request(user(text))))
    for one in tracked(*requests):
        gaps = [b.received_at - a.received_at for a, b in pairwise(one.attempts)]
        assert max(gaps) <= HOUR
        assert set(one.repeats) == {attempt.id for attempt in one.attempts[1:]}
