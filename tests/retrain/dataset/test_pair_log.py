"""The log as a snapshot reads it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feedback.config import MetricConfig
from retrain.config import PairsConfig, RetrainConfig
from retrain.dataset.held_out import held_out
from retrain.dataset.held_out_judgements import HeldOutJudgement
from retrain.dataset.pairs import PairsResult
from retrain.dataset.snapshot import About, PairLog, freeze
from server.database.database import Database
from tests.retrain.log import CHANNEL, TENANT, Log

pytestmark = pytest.mark.anyio
SATURDAY = datetime(2026, 11, 21, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
SHARE = 0.5
HELD, TRAINED = (
    next(f"u{n}" for n in range(99) if held_out(TENANT, f"u{n}", SHARE) is wanted)
    for wanted in (True, False)
)
METRICS = {
    "solved": MetricConfig(type="boolean", trains=0.5),
    "minutes": MetricConfig(type="number"),
}


@pytest.fixture
def log() -> Log:
    return Log(SATURDAY - 2 * WEEK)


def pair_log(database: Database, since: datetime) -> PairLog:
    about = About(
        run="r",
        channel=CHANNEL,
        tenants=frozenset({TENANT}),
        since=since,
        asked_since=SATURDAY - 8 * WEEK,
        cut_off=SATURDAY,
        base_model="tiny",
        parent=None,
    )
    config = RetrainConfig(pairs=PairsConfig(held_out_share=SHARE))
    return PairLog(database, about, config, "f" * 64, METRICS)


async def results(log: PairLog) -> list[PairsResult]:
    return [result async for result in log.results()]


async def earlier(log: PairLog) -> list[HeldOutJudgement]:
    return [judged async for result in log.earlier() for judged in result.held_out]


async def test_held_out_judgements_are_read_from_further_back_than_the_others(
    database: Database, log: Log
) -> None:
    asked = {user: log.ask(f"hours, {user}?", "nine", user=user) for user in (HELD, TRAINED)}
    for identifier in asked.values():
        log.say("thumbs", identifier, True)
    log.now = SATURDAY - timedelta(days=1)
    log.say("thumbs", log.ask("and today?", "ten", user=HELD), True)
    await log.write(database)
    read = pair_log(database, SATURDAY - WEEK)
    (this_week,) = await results(read)
    assert [judged.messages for judged in this_week.held_out] == [
        [{"role": "user", "content": "and today?"}]
    ]
    (before,) = await earlier(read)
    assert before.messages == [{"role": "user", "content": f"hours, {HELD}?"}]


async def test_an_earlier_judgement_that_was_taken_back_since_is_not_read(
    database: Database, log: Log
) -> None:
    asked = log.ask("hours?", "nine", user=HELD)
    thumb = log.say("thumbs", asked, True)
    log.now = SATURDAY - timedelta(days=1)
    log.say("thumbs", asked, None, retracts=thumb)
    await log.write(database)
    assert await earlier(pair_log(database, SATURDAY - WEEK)) == []


async def test_nothing_is_read_twice_where_both_windows_begin_together(
    database: Database, log: Log
) -> None:
    log.say("thumbs", log.ask("hours?", "nine", user=HELD), True)
    await log.write(database)
    read = pair_log(database, SATURDAY - 8 * WEEK)
    assert len((await results(read))[0].held_out) == 1
    assert await earlier(read) == []


async def test_metrics_are_read_if_they_train(database: Database, log: Log) -> None:
    solved = log.ask("hours?", "nine", user=TRAINED)
    log.say("solved", solved, False, source="CODE")
    log.say("minutes", log.ask("parking?", "yes", user=TRAINED), 5)
    await log.write(database)
    (found,) = await results(pair_log(database, SATURDAY - 3 * WEEK))
    (label,) = found.labels
    assert (label.side.key, label.good, label.weight) == ((solved, 0), False, 0.5)


async def test_the_requests_of_labels_come_with_all_their_parameters(
    database: Database, log: Log
) -> None:
    one, other = log.ask("hours?", "nine"), log.ask("parking?", "yes")
    removed = log.ask("gone?", "yes", request={}, texts_removed_at=SATURDAY)
    await log.write(database)
    read = pair_log(database, SATURDAY - WEEK)
    found = [row async for row in read.requests([other, removed, one])]
    assert [identifier for identifier, _ in found] == [other, one]
    assert found[1][1] == {
        "messages": [{"role": "user", "content": "hours?"}],
        "temperature": 1.0,
    }


async def test_interactions_of_the_window_are_counted_but_for_those_that_nobody_saw(
    database: Database, log: Log
) -> None:
    log.ask("long ago?", "yes")
    log.now = SATURDAY - timedelta(days=2)
    for mode in ("live", "external", "shadow", "evaluation"):
        log.ask(f"{mode}?", "yes", mode=mode)
    await log.write(database)
    assert await pair_log(database, SATURDAY - WEEK).interactions() == 2


async def test_lone_thumbs_on_questions_that_nobody_repeats_are_labels(
    database: Database, log: Log, tmp_path: Path
) -> None:
    for number in range(40):
        asked = log.ask(f"where is order {number}?", "on its way", user=f"u{number}")
        log.say("thumbs", asked, number % 4 > 0)
    await log.write(database)
    read = pair_log(database, SATURDAY - 3 * WEEK)
    manifest = await freeze(tmp_path / "snapshot", read.about, read, read.config)
    held = sum(held_out(TENANT, f"u{number}", SHARE) for number in range(40))
    assert manifest.judgements == {"held_out": held, "labels": 40 - held}
    assert (manifest.interactions, manifest.labels) == (40, 40 - held)
    assert (manifest.requests, manifest.held_out_labels) == (40 - held, held)
    assert manifest.labels_up > manifest.labels_down > 0
