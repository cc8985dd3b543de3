"""A trial as the log tells it: who took part, and what each thought of it."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from feedback.reading.trials import (
    Pace,
    answers_after,
    exposures,
    failures,
    paces_before,
    served_in,
    shadow_figures,
    votes,
    votes_before,
)
from server.database.database import Database
from tests.retrain.log import CHANNEL, Log
from tests.retrain.world import SATURDAY

pytestmark = pytest.mark.anyio

CANARY: dict[str, Any] = {"trial": "salt", "trial_share": 0.05, "role": "canary"}
METRICS = frozenset({"thumbs", "rating"})


def log() -> Log:
    return Log(SATURDAY)


async def test_a_user_is_met_at_the_first_request_of_the_trial(database: Database) -> None:
    told = log()
    told.ask("before", "yes")
    told.ask("one", "yes", trial="salt", trial_share=0.05, role="live", first_token_seconds=0.5)
    told.ask("two", "yes", **CANARY | {"trial_share": 0.5})
    told.ask("other trial", "yes", **CANARY | {"trial": "pepper"})
    await told.write(database)
    (met,) = await exposures(database, "salt")
    assert (met.user, met.role, met.share) == (("shop", "ann"), "live", 0.05)
    assert (met.at, met.first_token_seconds) == (SATURDAY + timedelta(seconds=2), 0.5)


async def test_users_of_two_tenants_are_two_users(database: Database) -> None:
    for tenant in ("shop", "mill"):
        told = Log(SATURDAY, tenant=tenant, prefix=tenant)
        told.say("thumbs", told.ask("one", "yes", **CANARY), value=True)
        await told.write(database)
    assert {one.user for one in await exposures(database, "salt")} == {
        ("shop", "ann"),
        ("mill", "ann"),
    }
    assert len({one.user for one in await votes(database, "salt", METRICS)}) == 2


async def test_anonymous_askers_are_told_apart_by_conversation(database: Database) -> None:
    told = log()
    first = told.ask("one", "yes", user=None, **CANARY)
    told.ask("one", "yes", user=None, **CANARY)
    told.ask("another", "yes", user=None, **CANARY)
    told.say("thumbs", first, value=True)
    await told.write(database)
    met = await exposures(database, "salt")
    (vote,) = await votes(database, "salt", METRICS)
    assert len(met) == 2
    assert vote.user in {one.user for one in met}


async def test_our_own_and_unseen_traffic_takes_no_part(database: Database) -> None:
    told = log()
    for mode in ("evaluation", "counterpart", "shadow", "external"):
        told.say("thumbs", told.ask("one", "yes", mode=mode, **CANARY), value=True)
    await told.write(database)
    assert await exposures(database, "salt") == []
    assert await votes(database, "salt", METRICS) == []
    assert await served_in(database, "salt", "canary") == 0


async def test_only_people_speak_and_only_of_their_own_answers(database: Database) -> None:
    told = log()
    asked = told.ask("one", "yes", **CANARY)
    told.say("thumbs", asked, value=False, source="LLM_JUDGE")
    told.say("thumbs", asked, value=False, source="CODE")
    told.say("thumbs", asked, value=False, rater="an expert")
    told.say("comment", asked, "fine")
    told.say("thumbs", asked, value=True, rater="ann")
    told.say("rating", asked, 4)
    await told.write(database)
    heard = await votes(database, "salt", METRICS)
    assert [(one.metric_name, one.value) for one in heard] == [("thumbs", True), ("rating", 4)]


async def test_a_vote_on_another_tenants_answer_is_not_heard(database: Database) -> None:
    told = log()
    asked = told.ask("one", "yes", **CANARY)
    told.say("thumbs", asked, value=False, tenant="mill")
    await told.write(database)
    assert await votes(database, "salt", METRICS) == []


async def test_votes_come_in_order_of_time(database: Database) -> None:
    told = log()
    asked = [told.ask(f"question {n}", "yes", user=f"user {n}", **CANARY) for n in range(3)]
    for identifier in reversed(asked):
        told.say("thumbs", identifier, value=True)
    await told.write(database)
    heard = await votes(database, "salt", METRICS)
    assert [one.user[1] for one in heard] == ["user 2", "user 1", "user 0"]


async def test_a_users_first_failure_counts(database: Database) -> None:
    told = log()
    told.ask("one", "yes", **CANARY)
    told.ask("two", status="failed", **CANARY)
    told.ask("three", status="failed", **CANARY)
    told.ask("four", status="aborted", user="bob", **CANARY)
    await told.write(database)
    (failure,) = await failures(database, "salt")
    assert failure.at == SATURDAY + timedelta(seconds=2)


async def test_lives_votes_are_those_of_its_time(database: Database) -> None:
    told = log()
    first = told.ask("one", "yes", version="old")
    told.say("thumbs", first, value=True)
    told.say("thumbs", told.ask("two", "yes", version="other"), value=False)
    until = told.now
    told.say("thumbs", first, value=False)
    told.say("thumbs", told.ask("three", "yes", version="old"), value=False)
    await told.write(database)
    heard = await votes_before(database, CHANNEL, "old", METRICS, SATURDAY, until)
    assert [one.value for one in heard] == [True]


async def test_lives_paces_are_the_latest_complete_ones(database: Database) -> None:
    told = log()
    for tokens, more in (
        (1, {}),
        (2, {}),
        (3, {"status": "failed"}),
        (4, {"mode": "shadow"}),
        (5, {"version": "other"}),
        (6, {}),
    ):
        told.ask("one", "yes", completion_tokens=tokens, **{"version": "old", **more})
    await told.write(database)
    args = (database, CHANNEL, "old", SATURDAY, told.now)
    assert await paces_before(*args, 10) == [Pace(None, 6), Pace(None, 2), Pace(None, 1)]
    assert await paces_before(*args, 2) == [Pace(None, 6), Pace(None, 2)]


async def test_a_shadows_answers_are_counted(database: Database) -> None:
    told = log()
    for status in ("complete", "complete", "failed", "aborted"):
        told.ask("one", "yes", mode="shadow", version="new", status=status)
    told.ask("one", "yes", version="new")
    await told.write(database)
    assert await shadow_figures(database, CHANNEL, "new") == (2, 1)
    assert await shadow_figures(database, CHANNEL, "none") == (0, 0)


async def test_answers_are_read_page_by_page_each_once(database: Database) -> None:
    told = log()
    for number in range(5):
        told.ask(f"question {number}", f"answer {number}", "second", **CANARY)
        told.now -= timedelta(seconds=1 - number % 2)  # some at the same moment
    told.ask("failed", "part", status="failed", **CANARY)
    await told.write(database)
    texts: list[str] = []
    place: tuple[datetime, str] | None = None
    while True:
        page, place = await answers_after(database, "salt", place, 2)
        texts += [answer.text for answer in page]
        if not page:
            break
    assert sorted(texts) == [f"answer {number}" for number in range(5)]


async def test_more_rows_than_a_batch_are_all_read(database: Database) -> None:
    told = log()
    for number in range(2_100):
        told.ask("one", "yes", user=f"user {number}", **CANARY)
    await told.write(database)
    assert len(await exposures(database, "salt")) == 2_100
    assert await served_in(database, "salt", "canary") == 2_100
