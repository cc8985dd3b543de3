"""An answer's last byte waits for the commit of its row, up to `commit_wait_seconds`."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection

from server.database.database import Database
from tests.server.api.test_chat import CHAT, events
from tests.server.running_app import RunningApp, chat_body, running_app
from tests.waiting import until

pytestmark = pytest.mark.anyio

STATUS = "SELECT status FROM interaction WHERE id = ?"


def rows(database: Path, query: str, *values: object) -> list[Any]:
    """What another process would see now."""
    connection = sqlite3.connect(database)
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process writes, and takes its time."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


@pytest.fixture
async def running(tmp_path: Path, anyio_backend: object) -> AsyncIterator[RunningApp]:
    """With the default wait for a commit; other tests wait longer, for a machine that is slow."""
    async with running_app(tmp_path, feedback={"commit_wait_seconds": 0.25}) as app:
        yield app


def database_of(running: RunningApp) -> Path:
    return running.services.settings.data_dir / "pawl.db"


async def late_commits(running: RunningApp) -> float:
    text = (await running.anyone.get("/metrics")).text
    (line,) = [line for line in text.splitlines() if line.startswith("pawl_late_commits_total")]
    return float(line.split()[1])


async def caught_up(running: RunningApp) -> None:
    """Wait until everything is in the database."""
    forwarder, recorder = running.services.forwarder, running.services.recorder
    assert forwarder is not None
    await until(lambda: not (recorder.depth or forwarder.behind))


async def eventually_stored(running: RunningApp, identifier: str) -> list[Any]:
    """The row's status, once the recorder has caught up."""
    await caught_up(running)
    return rows(database_of(running), STATUS, identifier)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_row_is_there_when_the_last_byte_arrives(
    running: RunningApp, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Any]] = []
    handle = httpx.ASGITransport.handle_async_request

    async def look(transport: httpx.ASGITransport, request: httpx.Request) -> httpx.Response:
        response = await handle(transport, request)
        identifier = response.headers["x-pawl-interaction"]
        seen.append(rows(database_of(running), STATUS, identifier))
        return response

    monkeypatch.setattr(httpx.ASGITransport, "handle_async_request", look)
    await running.anyone.post(CHAT, json=chat_body(stream=stream))
    assert seen == [[("complete",)]]


async def test_done_is_held_back_until_the_row_is_there(
    running: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit is the only thing that lets the last event go."""
    transaction, commits = Database.transaction, asyncio.Event()
    monkeypatch.setattr(running.services.serving, "_commit_wait", 60)

    async def held(database: Database, work: Callable[[Connection], Any]) -> Any:
        await commits.wait()
        return await transaction(database, work)

    monkeypatch.setattr(Database, "transaction", held)
    answer = asyncio.ensure_future(running.anyone.post(CHAT, json=chat_body(stream=True)))
    await until(lambda: running.services.recorder.depth > 0)
    assert not answer.done()
    commits.set()
    assert events((await answer).text)[-1] == "[DONE]"
    assert await late_commits(running) == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_locked_database_delays_an_answer_and_loses_nothing(
    running: RunningApp, stream: bool
) -> None:
    with locked(database_of(running)):
        answer = await running.anyone.post(CHAT, json=chat_body(stream=stream))
        identifier = answer.headers["x-pawl-interaction"]
        assert answer.status_code == 200
        assert await late_commits(running) == 1
        assert rows(database_of(running), STATUS, identifier) == []
    assert await eventually_stored(running, identifier) == [("complete",)]


async def test_feedback_is_refused_while_it_cannot_be_made_durable(tmp_path: Path) -> None:
    feedback = {"acknowledge_seconds": 0.2}
    async with running_app(tmp_path, feedback=feedback) as running:
        answer = await running.anyone.post(CHAT, json=chat_body())
        rating = {
            "inference_id": answer.json()["id"],
            "metric_name": "thumbs",
            "value": True,
            "id": "mine",
        }
        with locked(database_of(running)):
            told = await running.anyone.post("/v1/feedback", json=rating)
            assert (told.status_code, bool(told.headers["retry-after"])) == (503, True)
        again = await running.anyone.post("/v1/feedback", json=rating)
        assert (again.status_code, again.json()) == (200, {"feedback_id": "mine"})
        assert rows(database_of(running), "SELECT count(*) FROM feedback") == [(1,)]


async def test_feedback_before_its_interaction_is_taken_and_joined(running: RunningApp) -> None:
    """Authentic but not stored yet: as after a late commit."""
    with locked(database_of(running)):
        answer = await running.anyone.post(CHAT, json=chat_body())
        rating = {"inference_id": answer.json()["id"], "metric_name": "rating", "value": 4}
        told = asyncio.ensure_future(running.anyone.post("/v1/feedback", json=rating))
        await until(lambda: running.services.recorder.depth == 2)
    assert (await told).status_code == 200
    row = (await running.anyone.get(f"/v1/interactions/{answer.json()['id']}")).json()
    assert [(said["metric_name"], said["value"]) for said in row["feedback"]] == [("rating", 4)]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_can_be_rated_as_soon_as_it_is_seen(
    running: RunningApp, stream: bool
) -> None:
    answer = await running.anyone.post(CHAT, json=chat_body(stream=stream))
    identifier = answer.headers["x-pawl-interaction"]
    rating = {"inference_id": identifier, "metric_name": "thumbs", "value": True}
    assert (await running.anyone.post("/v1/feedback", json=rating)).status_code == 200
    row = (await running.anyone.get(f"/v1/interactions/{identifier}")).json()
    assert len(row["feedback"]) == 1


async def test_chat_goes_on_without_a_database_and_readiness_says_so(
    running: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_database: Database, *_: object) -> Any:
        raise OSError("the disk is gone")

    for way in ("write", "read", "transaction", "ping"):
        monkeypatch.setattr(Database, way, gone)
    answer = await running.anyone.post(CHAT, json=chat_body())
    assert answer.status_code == 200
    ready = await running.anyone.get("/health/ready")
    assert (ready.status_code, ready.json()["database"]) == (200, "degraded")
    monkeypatch.undo()
    assert await eventually_stored(running, answer.json()["id"]) == [("complete",)]
