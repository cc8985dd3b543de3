"""Preferences of one rater on the same two answers: the latest counts, whatever it says."""

from datetime import UTC, datetime
from typing import Any

import pytest

from feedback.reading.judgement_queries import LogWindow
from feedback.reading.judgements import judged_conversations
from feedback.repository import read_interaction
from retrain.dataset.filters import Filter, RaterRules
from server.database.database import Database
from tests.retrain.log import CHANNEL, TENANT, Log

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 16, 9, 30, tzinfo=UTC)
OUTCOMES = ("over", "tie", "both_bad")


@pytest.fixture
def log() -> Log:
    return Log(NOW)


def say(log: Log, outcome: str, about: str, other: str, choice: int = 0, **more: Any) -> str:
    return log.say("preference", about, {outcome: other, "choice": choice}, **more)


async def counting(database: Database, log: Log) -> tuple[list[str], int]:
    """The ids of the judgements that count for training, and how many were superseded."""
    await log.write(database)
    window = LogWindow(CHANNEL, None, None, log.now)
    rules = RaterRules(25).excluded
    found = [one async for one in judged_conversations(database, window, rules)]
    superseded = sum(one.left_out.get(Filter.SUPERSEDED, 0) for one in found)
    return [word.id for one in found for word in one.judgements], superseded


async def shown(database: Database, *asked: str) -> list[str]:
    """The ids of the judgements that the interactions show."""
    found = []
    async with database.read() as session:
        for identifier in asked:
            row = await read_interaction(session, TENANT, identifier)
            assert row is not None
            found += [judgement.id for judgement in row[2]]
    return found


@pytest.mark.parametrize("first", OUTCOMES)
@pytest.mark.parametrize("last", OUTCOMES)
@pytest.mark.parametrize("turned", [False, True], ids=["same answer", "other answer"])
async def test_a_later_word_on_the_same_two_replaces_the_earlier_one(
    log: Log, database: Database, first: str, last: str, turned: bool
) -> None:
    one, other = log.ask("hours?", "nine"), log.ask("hours?", "ten")
    say(log, first, one, other)
    later = say(log, last, *((other, one) if turned else (one, other)))
    assert await counting(database, log) == ([later], 1)
    assert await shown(database, one, other) == [later]


async def test_words_on_other_answers_of_others_and_on_other_choices_stay(
    log: Log, database: Database
) -> None:
    one, other, third = (log.ask("hours?", text, "late") for text in ("nine", "ten", "no"))
    said = [
        say(log, "over", one, other),
        say(log, "tie", one, third),
        say(log, "tie", one, other, 1),
        say(log, "tie", other, one, choice=0, rater="bob"),
        say(log, "tie", other, third),
        log.say("ranking", one, [[{"id": it, "choice": 0} for it in (one, other)]]),
    ]
    assert await counting(database, log) == (said, 0)
    assert sorted(await shown(database, one, other, third)) == sorted(said)


async def test_a_tie_that_was_taken_back_does_not_bring_the_preference_back(
    log: Log, database: Database
) -> None:
    one, other = log.ask("hours?", "nine"), log.ask("hours?", "ten")
    say(log, "over", one, other)
    tie = say(log, "tie", other, one)
    log.say("preference", other, None, retracts=tie)
    assert (await counting(database, log))[0] == []
    assert await shown(database, one, other) == []
