"""Texts go when they are old; rows, numbers and everything that is counted stay."""

import sqlite3
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from feedback.config import FeedbackConfig, MetricConfig
from feedback.models import Choice, Feedback, Interaction
from feedback.reading.judgement_queries import LogWindow
from feedback.reading.judgements import asked_prompts, judged_conversations
from feedback.reading.trials import exposures, votes
from feedback.retention import BATCH, Texts, is_text, oldest_text, remove_texts, texts_due
from retrain.dataset.filters import RaterRules
from server.database.database import Database
from tests.retrain.log import CHANNEL, TENANT, Log
from tests.retrain.world import SATURDAY

pytestmark = pytest.mark.anyio

SECRET = "the safe is behind the tomatoes"
CONFIG = FeedbackConfig(
    metrics={
        "essay": MetricConfig(type="text"),
        "colour": MetricConfig(type="category", values=("red", "blue")),
        "solved": MetricConfig(type="boolean"),
    }
)
OLD, NEW = SATURDAY - timedelta(days=40), SATURDAY - timedelta(days=5)
BEFORE = SATURDAY - timedelta(days=30)


async def no_pause(_seconds: float) -> None:
    """Nobody else writes here."""


async def remove(database: Database) -> Texts:
    return await remove_texts(database, BEFORE, SATURDAY, CONFIG, sleep=no_pause)


async def rows(database: Database, kind: type[Any]) -> list[Any]:
    async with database.read() as session:
        return list((await session.exec(select(kind).order_by(kind.__table__.c[0]))).all())


def talk(moment: datetime, prefix: str, text: str = SECRET) -> Log:
    """An exchange with texts wherever there can be some."""
    log = Log(moment, prefix=prefix)
    asked = log.ask(f"q {text}", f"a {text}", trial="salt", trial_share=0.5)
    log.rows[-1].message = {"role": "assistant", "content": None, "refusal": text}
    log.say("thumbs", asked, value=True, rationale=text, tags={"note": text})
    log.say("comment", asked, text)
    log.say("demonstration", asked, text)
    log.say("essay", asked, text)
    log.say("forgotten", asked, text)
    log.say("rating", asked, 4)
    log.say("colour", asked, "red")
    return log


async def test_texts_of_old_rows_go_and_their_numbers_stay(database: Database) -> None:
    await talk(OLD, "old").write(database)
    assert await remove(database) == Texts(interactions=1, feedback=7)
    (asked,), (answer,) = await rows(database, Interaction), await rows(database, Choice)
    assert (asked.request, asked.prompt_token_ids, asked.texts_removed_at) == ({}, None, SATURDAY)
    assert (asked.user, asked.version, asked.status) == ("ann", "base", "complete")
    assert (answer.text, answer.token_ids, answer.finish_reason) == ("", None, "stop")
    assert answer.message is None
    assert answer.tokens == len(f"a {SECRET}")
    words = {word.metric_name: word for word in await rows(database, Feedback)}
    assert {name: word.value for name, word in words.items()} == {
        "thumbs": True,
        "rating": 4,
        "colour": "red",
        **dict.fromkeys(("comment", "demonstration", "essay", "forgotten")),
    }
    assert all((word.rationale, word.tags) == (None, {}) for word in words.values())


async def test_texts_of_young_rows_stay(database: Database) -> None:
    await talk(NEW, "new").write(database)
    assert await remove(database) == Texts(0, 0)
    (asked,) = await rows(database, Interaction)
    assert (asked.request["messages"][0]["content"], asked.texts_removed_at) == (
        f"q {SECRET}",
        None,
    )


async def test_more_rows_than_a_batch_are_all_done_once(database: Database) -> None:
    log = Log(OLD)
    for number in range(BATCH + 3):
        log.say("thumbs", log.ask(f"question {number}", "yes"), value=True)
    await log.write(database)
    assert await texts_due(database, BEFORE) == Texts(BATCH + 3, BATCH + 3)
    assert await remove(database) == Texts(BATCH + 3, BATCH + 3)
    assert await texts_due(database, BEFORE) == Texts(0, 0)
    assert await remove(database) == Texts(0, 0)


async def test_it_ends_with_the_batch_under_way_when_told(database: Database) -> None:
    log = Log(OLD)
    for number in range(BATCH + 3):
        log.ask(f"question {number}", "yes")
    await log.write(database)
    told = iter([True, False, False])
    removed = await remove_texts(
        database, BEFORE, SATURDAY, CONFIG, sleep=no_pause, go_on=lambda: next(told)
    )
    assert removed == Texts(BATCH, 0)


async def test_what_a_trial_shows_is_the_same_afterwards(database: Database) -> None:
    await talk(OLD, "old").write(database)
    metrics = frozenset({"thumbs", "rating"})
    before = [await exposures(database, "salt"), await votes(database, "salt", metrics)]
    await remove(database)
    assert [await exposures(database, "salt"), await votes(database, "salt", metrics)] == before
    assert before[1]


async def test_a_question_is_told_by_an_answer_that_still_has_it(database: Database) -> None:
    old, new = Log(OLD, prefix="a"), Log(NEW, prefix="b")
    first = old.ask("hours?", "nine")
    new.prefer(new.ask("hours?", "ten"), first)
    for log in (old, new):
        await log.write(database)
    await remove(database)
    window = LogWindow(CHANNEL, frozenset({TENANT}), None, SATURDAY)
    (found,) = [one async for one in judged_conversations(database, window, RaterRules(9).excluded)]
    assert found.messages == [{"role": "user", "content": "hours?"}]
    assert {answer.text: answer.texts_removed for answer in found.answers} == {
        "": True,
        "ten": False,
    }


async def test_questions_without_their_text_are_not_asked_again(database: Database) -> None:
    for moment, prefix in ((OLD, "a"), (NEW, "b")):
        log = Log(moment, prefix=prefix)
        log.ask(f"from {prefix}", "yes")
        await log.write(database)
    await remove(database)
    window = LogWindow(CHANNEL, frozenset({TENANT}), None, SATURDAY)
    prompts = [one async for one in asked_prompts(database, window, lambda *_: True)]
    assert [prompt.request["messages"][0]["content"] for prompt in prompts] == ["from b"]


async def test_the_oldest_text_is_known(database: Database) -> None:
    assert await oldest_text(database) is None
    for moment, prefix in ((OLD, "a"), (NEW, "b")):
        await talk(moment, prefix).write(database)
    second = timedelta(seconds=1)
    assert await oldest_text(database) == OLD + second
    await remove(database)
    assert await oldest_text(database) == NEW + second


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_nothing_of_a_text_is_left_in_the_file(database: Database, tmp_path: Path) -> None:
    """A long text lies on pages of its own, which are freed."""
    await talk(OLD, "old", SECRET * 500).write(database)
    path = tmp_path / "pawl.sqlite"
    await remove(database)
    await database.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert SECRET.encode() not in path.read_bytes()
    assert path.stat().st_size > len(SECRET) * 500


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("comment", "words", True),
        ("demonstration", "words", True),
        ("thumbs", True, False),
        ("preference", {"over": "x", "choice": 0}, False),
        ("essay", "words", True),
        ("colour", "red", False),
        ("solved", True, False),
        ("forgotten", "words", True),
        ("forgotten", 3, False),
    ],
)
def test_a_text_is_told_from_a_figure(metric: str, value: object, *, expected: bool) -> None:
    assert is_text(metric, value, CONFIG) is expected
