"""Labels from what users do without a button, on a real log."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from feedback.answer_parts import AnswerParts
from feedback.reading.judgement_queries import LogWindow
from retrain.config import PairsConfig, RetrainConfig
from retrain.dataset.filters import Filter
from retrain.dataset.implicit.log import ImplicitLog
from retrain.dataset.implicit.reading import kept_messages
from retrain.dataset.labels import Label
from retrain.signal_figures import SignalFigures
from server.database.database import Database
from tests.retrain.dataset.implicit.stub_reader import THANKS, StubReader
from tests.retrain.dataset.implicit.talks import BASE, Talks, first, goes_on
from tests.retrain.log import CHANNEL, TENANT, Log

pytestmark = pytest.mark.anyio
SATURDAY = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOURS, NINE = "hours?", "nine"


class StuckReader(StubReader):
    async def read(
        self, conversation: Sequence[Mapping[str, Any]], answer: AnswerParts, message: str
    ) -> float:
        if message == "no":
            await asyncio.Event().wait()
        return await super().read(conversation, answer, message)


@pytest.fixture
def talks() -> Talks:
    return Talks(Log(SATURDAY))


def config(repeated: float = 0.2, next_message: float = 0.0, **signals: Any) -> RetrainConfig:
    reader = "company.readers:read"
    given = {"repeated": repeated, "next_message": next_message, "reader": reader, **signals}
    pairs = PairsConfig(held_out_share=0.0, events_per_rater=signals.pop("events", 25))
    given.pop("events", None)
    return RetrainConfig.model_validate({"signals": given, "pairs": pairs})


def implicit_log(
    database: Database, talks: Talks, settings: RetrainConfig, **more: Any
) -> ImplicitLog:
    window = LogWindow(
        CHANNEL, more.pop("tenants", frozenset({TENANT})), more.pop("since", None), talks.log.now
    )
    return ImplicitLog(database, window, settings, BASE, **more)


async def read(
    database: Database, talks: Talks, settings: RetrainConfig, **more: Any
) -> tuple[dict[str, Label], Counter[str], SignalFigures | None]:
    """The labels by interaction, what was left out, and the figures."""
    await talks.log.write(database)
    return await labels(implicit_log(database, talks, settings, **more))


async def labels(
    log: ImplicitLog,
) -> tuple[dict[str, Label], Counter[str], SignalFigures | None]:
    found: list[Label] = []
    left_out: Counter[str] = Counter()
    figures = None
    async for result in log.results():
        found += result.labels
        left_out += result.filtered
        figures = result.signals or figures
    by_id = {label.side.key[0]: label for label in found}
    assert len(by_id) == len(found)
    return by_id, left_out, figures


def reading(tmp_path: Path) -> tuple[StubReader, Path]:
    return StubReader(), tmp_path / "next_messages.jsonl"


async def test_a_question_asked_again_speaks_against_its_first_answer(
    database: Database, talks: Talks
) -> None:
    once, _again = talks.again(HOURS, [NINE, "ten"])
    found, left_out, figures = await read(database, talks, config())
    assert {key: (one.good, one.weight, one.signal) for key, one in found.items()} == {
        once: (False, 0.2, "repeated")
    }
    assert left_out == {}
    assert figures is not None
    assert (figures.weights["repeated"], figures.repeated) == (0.2, {"against": 1})
    row = found[once].row()
    assert (row.prompt_token_ids, row.completion.token_ids) == ([1, 2, 3], [20, 15, 20, 11])


async def test_the_second_answer_is_good_if_the_talk_goes_on_from_it(
    database: Database, talks: Talks
) -> None:
    once, again = talks.again(HOURS, [NINE, "ten"])
    talks.say(goes_on(first(HOURS), " ten\n", THANKS), "bye")
    found, _, figures = await read(database, talks, config())
    assert {key: one.good for key, one in found.items()} == {once: False, again: True}
    assert figures is not None
    assert figures.repeated == {"against": 1, "in_favour": 1}


async def test_a_talk_that_goes_on_from_the_first_answer_vindicates_it(
    database: Database, talks: Talks
) -> None:
    talks.again(HOURS, [NINE, "ten"])
    talks.say(goes_on(first(HOURS), NINE, THANKS), "bye")
    found, left_out, _ = await read(database, talks, config())
    assert (found, left_out) == ({}, {Filter.WENT_ON: 1})


async def test_equal_answers_say_nothing(database: Database, talks: Talks) -> None:
    talks.again(HOURS, [NINE, NINE])
    found, left_out, _ = await read(database, talks, config())
    assert (found, left_out) == ({}, {Filter.IDENTICAL: 1})


async def test_several_answers_to_one_request_say_nothing(database: Database, talks: Talks) -> None:
    talks.say(first(HOURS), NINE, "ten")
    talks.say(first(HOURS), "eleven")
    found, left_out, _ = await read(database, talks, config())
    assert (found, left_out) == ({}, {Filter.SEVERAL_ANSWERS: 1})


async def test_requests_at_the_same_time_say_nothing(database: Database, talks: Talks) -> None:
    talks.say(first(HOURS), NINE, duration_seconds=90.0)
    talks.say(first(HOURS), "ten")
    found, left_out, _ = await read(database, talks, config())
    assert (found, left_out) == ({}, {Filter.CONCURRENT: 1})


@pytest.mark.parametrize(
    "more",
    [
        {"status": "aborted"},
        {"status": "failed"},
        {"mode": "background"},
        {"mode": "shadow"},
        {"mode": "external"},
        {"comparison": "blind"},
        {"texts_removed_at": SATURDAY},
        {"user": "bob"},
        {"user": None},
        {"channel": "other"},
    ],
)
async def test_what_a_user_did_not_ask_and_read_is_no_repeat(
    database: Database, talks: Talks, more: dict[str, Any]
) -> None:
    talks.say(first(HOURS), NINE, **more)
    talks.say(first(HOURS), "ten")
    assert (await read(database, talks, config()))[:2] == ({}, {})


async def test_another_tenants_question_is_another_question(
    database: Database, talks: Talks
) -> None:
    talks.say(first(HOURS), NINE, tenant="other")
    talks.say(first(HOURS), "ten")
    found, left_out, _ = await read(database, talks, config(), tenants=None)
    assert (found, left_out) == ({}, {})


async def test_all_tenants_of_a_shared_channel_are_read(database: Database, talks: Talks) -> None:
    asked = [talks.again(HOURS, [NINE, "ten"], tenant=name)[0] for name in ("a", "b", "c")]
    found, _, _ = await read(database, talks, config(), tenants=None)
    assert sorted(found) == sorted(asked)
    assert {label.tenant for label in found.values()} == {"a", "b", "c"}


async def test_answers_of_another_base_model_are_left_out(database: Database, talks: Talks) -> None:
    talks.say(first(HOURS), NINE, base_fingerprint="e" * 64)
    talks.say(first(HOURS), "ten")
    found, left_out, _ = await read(database, talks, config())
    assert (found, left_out) == ({}, {Filter.FOREIGN: 1})


async def test_a_first_question_of_unnamed_users_may_be_anothers(
    database: Database, talks: Talks
) -> None:
    talks.again(HOURS, [NINE, "ten"], user=None)
    found, left_out, _ = await read(database, talks, config())
    assert (found, left_out) == ({}, {Filter.ANONYMOUS: 1})


async def test_a_later_question_of_an_unnamed_user_is_told_apart_by_its_thread(
    database: Database, talks: Talks
) -> None:
    talks.say(first(HOURS), NINE, user=None)
    later = goes_on(first(HOURS), NINE, "and on Sunday?")
    once = talks.say(later, "closed", user=None)
    talks.say(later, "open", user=None)
    found, _, _ = await read(database, talks, config())
    assert list(found) == [once]


@pytest.mark.parametrize(
    ("metric", "value"), [("thumbs", True), ("rating", 3), ("demonstration", "At nine.")]
)
async def test_a_persons_word_outweighs_what_the_user_did(
    database: Database, talks: Talks, metric: str, value: Any
) -> None:
    once, _ = talks.again(HOURS, [NINE, "ten"])
    talks.log.say(metric, once, value)
    found, left_out, _ = await read(database, talks, config())
    assert (found, left_out) == ({}, {Filter.EXPLICIT: 1})


async def test_a_preference_is_a_word_on_both_answers(database: Database, talks: Talks) -> None:
    once, again = talks.again(HOURS, [NINE, "ten"])
    talks.log.prefer(again, once)
    found, left_out, _ = await read(database, talks, config())
    assert (found, left_out) == ({}, {Filter.EXPLICIT: 1})


async def test_words_that_were_taken_back_comments_and_programs_outweigh_nothing(
    database: Database, talks: Talks
) -> None:
    once, _ = talks.again(HOURS, [NINE, "ten"])
    thumb = talks.log.say("thumbs", once, True)
    talks.log.say("thumbs", once, None, retracts=thumb)
    talks.log.say("comment", once, "so so")
    talks.log.say("thumbs", once, True, source="LLM_JUDGE")
    assert list((await read(database, talks, config()))[0]) == [once]


async def test_held_out_users_give_no_labels(database: Database, talks: Talks) -> None:
    for number in range(20):
        talks.again(HOURS, [NINE, "ten"], user=f"user {number}")
    half = config().model_copy(update={"pairs": PairsConfig(held_out_share=0.5)})
    found, left_out, _ = await read(database, talks, half)
    assert 0 < len(found) < 20
    assert left_out == {Filter.HELD_OUT: 20 - len(found)}


async def test_a_user_counts_so_often_a_week_the_earliest_first(
    database: Database, talks: Talks
) -> None:
    asked = [talks.again(f"question {n}", [NINE, "ten"])[0] for n in range(4)]
    found, left_out, _ = await read(database, talks, config(events=3))
    assert list(found) == asked[:3]
    assert left_out == {Filter.OVER_QUOTA: 1}


async def test_only_what_happened_in_the_window_counts_but_the_week_has_one_quota(
    database: Database, talks: Talks
) -> None:
    talks.again("before", [NINE, "ten"])
    across = talks.say(first(HOURS), NINE)
    since = talks.log.now
    talks.say(first(HOURS), "ten")
    talks.again("over", [NINE, "ten"])
    found, left_out, _ = await read(database, talks, config(events=2), since=since)
    assert list(found) == [across]
    assert left_out == {Filter.OVER_QUOTA: 1}


async def test_the_next_message_speaks_of_the_answer_before_it(
    database: Database, talks: Talks, tmp_path: Path
) -> None:
    reader, kept = reading(tmp_path)
    good, bad = talks.say(first(HOURS), NINE), talks.say(first("prices?"), "many")
    talks.say(goes_on(first(HOURS), NINE, THANKS), "bye")
    talks.say(goes_on(first("prices?"), "many", "no"), "sorry")
    settings = config(repeated=0, next_message=0.3)
    found, left_out, figures = await read(database, talks, settings, reader=reader, kept=kept)
    assert {key: (one.good, one.weight, one.signal) for key, one in found.items()} == {
        good: (True, 0.3, "next_message"),
        bad: (False, 0.3, "next_message"),
    }
    assert left_out == {}
    assert figures is not None
    assert figures.messages == {
        "found": 2, "to_read": 2, "accepted": 1, "rejected": 1, "neutral": 0, "failed": 0,
        "unread": 0,
    }  # fmt: skip


async def test_an_answer_among_several_is_found_by_what_was_served(
    database: Database, talks: Talks, tmp_path: Path
) -> None:
    reader, kept = reading(tmp_path)
    asked = talks.say(first(HOURS), "eight", NINE)
    talks.say(goes_on(first(HOURS), NINE, THANKS), "bye")
    settings = config(repeated=0, next_message=0.3)
    found, _, _ = await read(database, talks, settings, reader=reader, kept=kept)
    assert found[asked].side.key == (asked, 1)


@pytest.mark.parametrize(
    ("answer", "message", "reason"),
    [
        ("half past nine", THANKS, Filter.EDITED),
        (NINE, "hm", Filter.NEUTRAL_MESSAGE),
        (NINE, "odd", Filter.READER_FAILED),
        (NINE, " ", Filter.EMPTY),
    ],
)
async def test_a_message_that_says_nothing_is_counted(
    database: Database, talks: Talks, tmp_path: Path, answer: str, message: str, reason: Filter
) -> None:
    reader, kept = reading(tmp_path)
    talks.say(first(HOURS), NINE)
    talks.say(goes_on(first(HOURS), answer, message), "bye")
    settings = config(repeated=0, next_message=0.3)
    found, left_out, _ = await read(database, talks, settings, reader=reader, kept=kept)
    assert (found, left_out) == ({}, {reason: 1})


async def test_a_changed_system_prompt_matches_nothing_and_is_counted(
    database: Database, talks: Talks, tmp_path: Path
) -> None:
    reader, kept = reading(tmp_path)
    talks.say([{"role": "system", "content": "It is ten."}, *first(HOURS)], NINE)
    later = [{"role": "system", "content": "It is eleven."}, *first(HOURS)]
    talks.say(goes_on(later, NINE, THANKS), "bye")
    settings = config(repeated=0, next_message=0.3)
    found, left_out, _ = await read(database, talks, settings, reader=reader, kept=kept)
    assert (found, left_out) == ({}, {Filter.UNMATCHED: 1})


async def test_only_the_first_message_after_an_answer_is_read(
    database: Database, talks: Talks, tmp_path: Path
) -> None:
    reader, kept = reading(tmp_path)
    talks.say(first(HOURS), NINE)
    for message in (THANKS, "no"):
        talks.say(goes_on(first(HOURS), NINE, message), "bye")
    settings = config(repeated=0, next_message=0.3)
    found, left_out, _ = await read(database, talks, settings, reader=reader, kept=kept)
    assert [label.good for label in found.values()] == [True]
    assert left_out == {Filter.FURTHER_MESSAGE: 1}


async def test_both_signs_of_one_answer_add_up(
    database: Database, talks: Talks, tmp_path: Path
) -> None:
    reader, kept = reading(tmp_path)
    _, again = talks.again(HOURS, [NINE, "ten"])
    talks.say(goes_on(first(HOURS), "ten", "no"), "bye")
    settings = config(repeated=0.2, next_message=0.5)
    found, _, _ = await read(database, talks, settings, reader=reader, kept=kept)
    label = found[again]
    assert (label.good, label.signal) == (False, "next_message")
    assert label.weight == pytest.approx(0.3)


async def test_a_cut_off_answer_is_never_called_good(
    database: Database, talks: Talks, tmp_path: Path
) -> None:
    reader, kept = reading(tmp_path)
    talks.say(first(HOURS), NINE)
    talks.log.rows[-1].finish_reason = "length"
    talks.say(goes_on(first(HOURS), NINE, THANKS), "bye")
    settings = config(repeated=0, next_message=0.3)
    found, left_out, _ = await read(database, talks, settings, reader=reader, kept=kept)
    assert (found, left_out) == ({}, {Filter.TRUNCATED: 1})


async def test_without_a_reader_messages_are_only_counted(database: Database, talks: Talks) -> None:
    talks.say(first(HOURS), NINE)
    talks.say(goes_on(first(HOURS), NINE, THANKS), "bye")
    found, left_out, figures = await read(database, talks, config(repeated=0, next_message=0.3))
    assert (found, left_out) == ({}, {Filter.UNREAD: 1})
    assert figures is not None
    assert figures.messages["to_read"] == 1


async def test_no_more_messages_are_read_than_the_settings_allow(
    database: Database, talks: Talks, tmp_path: Path
) -> None:
    reader, kept = reading(tmp_path)
    for number in range(6):
        talks.say(first(f"question {number}"), NINE, user=f"u{number}")
        talks.say(goes_on(first(f"question {number}"), NINE, THANKS), "bye", user=f"u{number}")
    settings = config(repeated=0, next_message=0.3, messages=4)
    found, left_out, figures = await read(database, talks, settings, reader=reader, kept=kept)
    assert (len(found), len(reader.read_texts)) == (4, 4)
    assert left_out == {Filter.UNREAD: 2}
    assert figures is not None
    assert (figures.messages["found"], figures.messages["to_read"]) == (6, 4)


async def test_reading_stops_when_its_time_is_up(
    database: Database, talks: Talks, tmp_path: Path
) -> None:
    _, kept = reading(tmp_path)
    for user, message in (("a", THANKS), ("b", "no")):
        talks.say(first(HOURS), NINE, user=user)
        talks.say(goes_on(first(HOURS), NINE, message), "bye", user=user)
    settings = config(repeated=0, next_message=0.3, seconds=0.5)
    found, left_out, _ = await read(database, talks, settings, reader=StuckReader(), kept=kept)
    assert [label.good for label in found.values()] == [True]
    assert left_out == {Filter.UNREAD: 1}


async def test_what_was_read_is_kept_and_not_asked_for_again(
    database: Database, talks: Talks, tmp_path: Path
) -> None:
    reader, kept = reading(tmp_path)
    asked = talks.say(first(HOURS), NINE)
    by = talks.say(goes_on(first(HOURS), NINE, "no"), "bye")
    settings = config(repeated=0, next_message=0.3)
    once = await read(database, talks, settings, reader=reader, kept=kept)
    with kept.open("ab") as file:
        file.write(b'{"interaction_id": "cut o')
    again = await labels(implicit_log(database, talks, settings, reader=StuckReader(), kept=kept))
    assert again == once
    (verdict,) = kept_messages(kept)
    assert (verdict.interaction_id, verdict.read_in, verdict.value) == (asked, by, -1.0)


async def test_nothing_is_read_where_no_signal_has_a_weight(
    database: Database, talks: Talks
) -> None:
    talks.again(HOURS, [NINE, "ten"])
    assert await read(database, talks, config(repeated=0)) == ({}, {}, None)


async def test_the_time_between_two_requests_is_limited(database: Database, talks: Talks) -> None:
    talks.say(first(HOURS), NINE)
    talks.log.now += timedelta(hours=1)
    talks.say(first(HOURS), "ten")
    assert (await read(database, talks, config()))[:2] == ({}, {})


async def test_more_conversations_than_a_batch_are_all_read(
    database: Database, talks: Talks
) -> None:
    for number in range(120):
        talks.again(f"question {number}", [NINE, "ten"], user=f"u{number}")
    assert len((await read(database, talks, config()))[0]) == 120
