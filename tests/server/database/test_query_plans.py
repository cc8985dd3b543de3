"""No statement of the product reads a table that grows from end to end, whatever its size.

An app is driven through what it does for users, operators and itself. The statements that it makes
are heard, so new ones are covered too, and each is put before the planner of a database with
realistic rows.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import URL

from adapters.models import VersionEvent
from feedback.reading.follow_up_log import FollowUpLog
from feedback.reading.follow_ups import Tracking
from feedback.reading.judgement_queries import LogWindow
from feedback.reading.trials import served_in, shadow_figures
from retrain.models import RolloutEvent, TrainedText
from server.database.database import Database
from server.database.statistics import renew_after_bulk_load
from server.maintenance.daily import purge
from tests.adapters.adapter_files import make_adapter
from tests.feedback.examples import interaction, judgement
from tests.feedback.spool.spooling import spooling
from tests.query_plans import Statement, opened, postgres_offences, recorded, sqlite_offences
from tests.retrain.log import Log
from tests.server.comparing import compare
from tests.server.running_app import RunningApp, chat_body, running_app
from tests.server.test_a_week import rated, retrain

pytestmark = pytest.mark.anyio
CANARY: dict[str, Any] = {"shadow_answers": 0, "first_requests": 0}
SIGNALS = {"repeated": 0.2, "next_message": 0.2, "reader": f"{__name__}:says_nothing"}
STAGES = {"signals": SIGNALS, "rollout": "canary", "rollout_seconds": 3_600, "canary": CANARY}
ROWS = 3_000
ALLOWED: Sequence[tuple[str, str]] = (
    ("place_in_week", "training reads all words of its window, once a week"),
    ("interaction.status, count(*)", "the shadow answers of one candidate, while it is a shadow"),
    ("SELECT count(*) AS count_1 \nFROM", "a spool of an older Pawl is counted once"),
    (
        "AS requester \nFROM interaction",
        "held-out questions: all requests of a window, once a week",
    ),
    ("count(*) AS judgements", "fresh judgements: before the first snapshot, those of the window"),
    ("interaction.tenant > ", "the next tenant: one entry of an index"),
)
"""What a statement that may read a table whole has in it, and why it may."""


def says_nothing(_conversation: object, _answer: str, _message: str) -> float:
    return 0.0


@asynccontextmanager
async def used(folder: Path, url: str) -> AsyncIterator[RunningApp]:
    """An app on which everything was done once."""
    adapter = make_adapter(folder / "trained", seed=7)
    sections = {
        "database_url": url,
        "retrain": {**retrain(adapter), **STAGES},
        "feedback": {"retention_days": 1, "database_seconds": 30},
    }
    async with running_app(folder / "data", **sections) as app:
        await rated(app, 0)
        await asyncio.gather(*(rated(app, number) for number in range(1, 40)))
        await clients(app)
        await operators(app)
        await housekeeping(app)
        yield app


async def clients(app: RunningApp) -> None:
    """What applications and browsers ask."""
    answer = (await app.anyone.post("/v1/chat/completions", json=chat_body(user="ann"))).json()
    reports = [
        {"model": "other", "prompt": "hi", "run_id": run, "choices": [{"text": "ho"}]}
        for run in ("one", "two", "one")
    ]
    for _ in range(2):
        batch = {"interactions": reports}
        assert (await app.anyone.post("/v1/interactions/batch", json=batch)).status_code == 200
    word = {"inference_id": answer["id"], "metric_name": "thumbs", "value": True, "id": "thumb"}
    for value in ({}, {"id": "other", "value": None}):
        assert (await app.anyone.post("/v1/feedback", json=word | value)).status_code == 200
    assert (await app.anyone.delete("/v1/feedback/thumb")).status_code == 200
    assert (await app.anyone.get(f"/v1/interactions/{answer['id']}")).status_code == 200


async def operators(app: RunningApp) -> None:
    """A week, a rollout with a blind comparison, keys, and all that is looked at."""
    assert (await app.operator.get("/v1/pairs")).status_code == 200
    run = (await app.operator.post("/v1/runs", json={})).json()
    ended = await app.services.runs.wait(run["id"])
    assert ended.version is not None
    await app.services.runs.rollouts.tick()
    sides = (await compare(app, user="ann")).json()["sides"]
    shown = await app.anyone.get(f"/v1/interactions/{sides[0]['interaction']}")
    assert shown.json()["version"] is None
    await app.services.runs.rollouts.tick()
    made = (await app.operator.post("/v1/keys", json={"role": "app"})).json()
    pages = ("keys", "runs", f"runs/{run['id']}", "rollouts", f"rollouts/{ended.version}")
    more = ("adapters", f"adapters/{ended.version}/events", "route", "retention", "servers")
    for page in (*pages, *more):
        assert (await app.operator.get(f"/v1/{page}")).status_code == 200, page
    await app.operator.delete(f"/v1/keys/{made['id']}")
    await app.operator.post("/v1/rollback", json={"reason": "a test"})


async def housekeeping(app: RunningApp) -> None:
    """What is done once a day, and what rollouts ask beside their evidence."""
    database, now = app.services.database, datetime.now(UTC)
    old = Log(now - timedelta(days=3), prefix="old")
    old.say("comment", old.ask("one", "yes", trial="salt", trial_share=0.5), "fine")
    await old.write(database)
    assert (await app.operator.post("/v1/retention")).status_code == 200
    await purge(app.services.registry, app.services.clock)
    again = Log(now - timedelta(hours=1), prefix="again")
    again.ask("one", "no")
    again.say("thumbs", again.ask("one", "perhaps"), True)
    await again.write(database)
    window = LogWindow("pawl", None, now - timedelta(days=30), now)
    follow_ups = FollowUpLog(database, window, Tracking(timedelta(hours=1)))
    assert [one async for one in follow_ups.conversations()]
    await served_in(database, "salt", "live")
    await shadow_figures(database, "pawl", "base")
    await app.services.keys.refresh()


async def outage(folder: Path, url: str) -> None:
    """The spool's own statements, and those with which it is brought to the database."""
    database = Database(url)
    async with spooling(database, folder, away=True) as log:
        await asyncio.gather(
            *(log.recorder.record(interaction(run_id=f"run {number}")) for number in range(3)),
            *(log.recorder.store(judgement(f"word {number}")) for number in range(3)),
        )
        log.database.away = False
        await log.caught_up()
        log.database.away = True
        await log.recorder.record(interaction())  # left behind: the file is looked at
    await database.close()


async def grown(url: str) -> None:
    """Make the log large enough for a planner to care."""
    database = Database(url)
    log = Log(datetime.now(UTC) - timedelta(days=100), prefix="grown")
    for number in range(ROWS):
        log.now += timedelta(minutes=45)
        asked = log.ask(f"q {number}", "a", user=f"u {number}", run_id=f"grown {number}")
        log.say("thumbs", asked, True)
    log.rows += [row for number in range(ROWS) for row in of_a_version(f"v{number}", log.now)]
    await log.write(database)
    await database.transaction(renew_after_bulk_load)
    await database.close()


def of_a_version(name: str, at: datetime) -> list[Any]:
    """What the registry and rollouts keep of a version."""
    who: dict[str, Any] = {
        "id": name,
        "version": name,
        "channel": "pawl",
        "at": at,
        "actor": "a",
        "reason": "",
    }
    return [
        VersionEvent(**who, from_state=None, to_state="candidate"),
        RolloutEvent(**who, move="begin", phase="shadow", numbers={}),
        TrainedText(version=name, text_key="a"),
    ]


def unexcused(statement: Statement, offences: Sequence[str]) -> Iterator[str]:
    if offences and not any(part in statement.text for part, _ in ALLOWED):
        yield f"{sorted(set(offences))}: {statement.text}"


def offences(url: URL, statements: Sequence[Statement]) -> list[str]:
    """The statements made on that database that would read a table whole, with the tables."""
    found: list[str] = []
    asked = [one for one in statements if one.url.database == url.database]
    assert len(asked) > 5
    if url.get_backend_name() == "sqlite":
        with opened(url) as connection:
            for one in asked:
                found += unexcused(one, sqlite_offences(connection, one))
        return found
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True) as connection:
        for one in asked:
            found += unexcused(one, postgres_offences(connection, one))
    return found


async def test_no_statement_reads_a_table_that_grows(tmp_path: Path, database_url: str) -> None:
    with recorded() as statements:
        async with used(tmp_path, database_url):
            pass
        await outage(tmp_path, database_url)
    await grown(database_url)
    urls = {one.url.database: one.url for one in statements}
    assert len(urls) == 2  # the database's and the spool's
    found = [one for url in urls.values() for one in offences(url, statements)]
    assert found == [], "\n\n".join(found)


SCANS = (
    "SELECT id FROM feedback WHERE id IN ('a')",
    "SELECT id FROM interaction WHERE run_id = 'a' OR id = 'b'",
    "SELECT count(*) FROM interaction",
    "SELECT choice.text FROM choice JOIN interaction ON interaction.id = choice.interaction_id "
    "WHERE interaction.channel = 'pawl' AND interaction.mode = 'live'",
)


@pytest.mark.parametrize("scan", SCANS)
async def test_what_reads_a_table_whole_is_found(database_url: str, scan: str) -> None:
    """Else the other test would hold whatever the statements were."""
    await grown(database_url)
    database = Database(database_url)
    statement = Statement(database.url, scan, ())
    await database.close()
    assert offences(database.url, [statement] * 6) != []
