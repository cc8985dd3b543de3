"""A database that goes away while the server runs: locked, or a PostgreSQL that is stopped."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from server.auth.keys import KeyRing
from server.database.database import Database
from tests.postgres_fixture import TestDatabases
from tests.server.auth.test_auth import operations
from tests.server.metrics.test_metrics import shown, value
from tests.server.running_app import RunningApp, chat_body, running_app
from tests.server.serving.test_last_byte import caught_up, database_of, late_commits, locked, rows
from tests.waiting import until

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
HASTY = {"database_seconds": 0.1}
WELL = {200, 401, 404, 405, 409, 415, 422, 400}


@contextmanager
def paused(postgres: TestDatabases) -> Iterator[None]:
    """PostgreSQL is stopped: its connections stay open, and nothing answers."""
    postgres.server.pause()
    try:
        yield
    finally:
        postgres.server.resume()


@asynccontextmanager
async def on_postgres(postgres: TestDatabases, folder: Path) -> AsyncIterator[RunningApp]:
    with postgres.database() as url:
        async with running_app(folder, database_url=url, feedback=HASTY) as running:
            yield running


def rating(answer: Any, **fields: Any) -> dict[str, Any]:
    return {"inference_id": answer.json()["id"], "metric_name": "rating", "value": 4, **fields}


@pytest.fixture
async def hasty(anyio_backend: object, tmp_path: Path) -> AsyncIterator[RunningApp]:
    """An app on SQLite that soon gives a group up."""
    async with running_app(tmp_path / "data", feedback=HASTY) as app:
        yield app


async def test_a_locked_database_is_stood_in_for_by_the_spool(hasty: RunningApp) -> None:
    running = hasty
    with locked(database_of(running)):
        answers = [await running.anyone.post(CHAT, json=chat_body()) for _ in range(5)]
        assert {answer.status_code for answer in answers} == {200}
        assert await late_commits(running) == 0
        for answer in answers:
            said = await running.anyone.post("/v1/feedback", json=rating(answer))
            assert said.status_code == 200
        assert rows(database_of(running), "SELECT count(*) FROM feedback") == [(0,)]
        found = await shown(running)
        assert value(found, "pawl_spool_rows") == value(found, "pawl_spooled_rows_total") == 10
        assert value(found, "pawl_database_up") == 0
    await caught_up(running)
    assert rows(database_of(running), "SELECT count(*) FROM feedback") == [(5,)]
    found = await shown(running)
    assert (value(found, "pawl_spool_rows"), value(found, "pawl_database_up")) == (0, 1)
    assert value(found, "pawl_spool_drained_rows_total") == 10


async def test_a_stopped_postgresql_is_stood_in_for_by_the_spool(
    postgres: TestDatabases, tmp_path: Path
) -> None:
    async with on_postgres(postgres, tmp_path) as running:
        before = await running.anyone.post(CHAT, json=chat_body())
        with paused(postgres):
            answer = await running.anyone.post(CHAT, json=chat_body(stream=True))
            assert answer.status_code == 200
            said = await running.anyone.post("/v1/feedback", json=rating(before, id="mine"))
            assert (said.status_code, said.json()) == (200, {"feedback_id": "mine"})
            ready = await running.anyone.get("/health/ready")
            assert (ready.status_code, ready.json()["database"]) == (200, "degraded")
        await caught_up(running)
        identifier = answer.headers["x-pawl-interaction"]
        row = await running.anyone.get(f"/v1/interactions/{identifier}")
        assert row.json()["status"] == "complete"
        rated = (await running.anyone.get(f"/v1/interactions/{before.json()['id']}")).json()
        assert [word["value"] for word in rated["feedback"]] == [4]


async def test_nothing_waits_and_nothing_is_500_while_the_database_is_away(
    postgres: TestDatabases, tmp_path: Path
) -> None:
    """Every route, as an administrator: chat and feedback answer, the rest says 503."""
    async with on_postgres(postgres, tmp_path) as running:
        answer = await running.anyone.post(CHAT, json=chat_body())
        with paused(postgres):
            await until(lambda: running.services.database.away)
            for method, path in operations(running.app):
                url = re.sub(r"{\w+}", answer.json()["id"], path)
                body = {"role": "app"} if path == "/v1/keys" else {"channel": "pawl"}
                told = await running.operator.request(
                    method, url, json=body if method != "GET" else None
                )
                assert told.status_code in {*WELL, 503}, (method, path)
                assert told.status_code != 503 or "retry-after" in told.headers
            for path, sent in (
                ("/v1/keys", {"role": "app"}),
                ("/v1/adapters/2026-w01-000000/promote", {"reason": "test"}),
                ("/v1/runs", {}),
            ):
                assert (await running.operator.post(path, json=sent)).status_code == 503, path
            for path in (f"/v1/interactions/{answer.json()['id']}", "/v1/runs"):
                assert (await running.operator.get(path)).status_code == 503, path


async def test_what_waits_for_an_answer_is_told_503_once_the_database_is_found_away(
    postgres: TestDatabases, tmp_path: Path
) -> None:
    async with on_postgres(postgres, tmp_path) as running:
        answer = await running.anyone.post(CHAT, json=chat_body())
        with paused(postgres):
            read = running.operator.get(f"/v1/interactions/{answer.json()['id']}")
            write = running.operator.post("/v1/keys", json={"role": "app"})
            told = await asyncio.gather(read, write)
        assert {one.status_code for one in told} == {503}
        await until(lambda: not running.services.database.away)
        made = await running.operator.post("/v1/keys", json={"role": "app"})
        assert made.status_code == 200


async def test_a_cached_key_is_known_and_another_one_may_be_new(
    postgres: TestDatabases, tmp_path: Path
) -> None:
    async with on_postgres(postgres, tmp_path) as running:
        known = running.bearer(await running.key("app"))
        unknown = running.bearer("pawl_0123456789ab_nobodys")
        assert (await unknown.get("/v1/models")).status_code == 401
        with paused(postgres):
            await until(lambda: running.services.database.away)
            assert (await known.post(CHAT, json=chat_body())).status_code == 200
            another = running.bearer("pawl_0123456789ab_another")
            told = await another.post(CHAT, json=chat_body())
            assert (told.status_code, bool(told.headers["retry-after"])) == (503, True)
            nobody = await running.anyone.post(CHAT, json=chat_body())
            assert nobody.status_code == 401
        await until(lambda: not running.services.database.away)
        assert (await another.post(CHAT, json=chat_body())).status_code == 401


@asynccontextmanager
async def another_server(running: RunningApp) -> AsyncIterator[KeyRing]:
    """Keys as another server on the same database makes and revokes them."""
    database = Database(running.services.settings.database)
    ring = KeyRing(database, running.services.clock, "operator", loopback=True)
    await ring.refresh()
    yield ring
    await database.close()


async def test_a_key_that_another_server_made_is_known_at_once(running: RunningApp) -> None:
    await running.key("app")
    async with another_server(running) as other:
        _, key = await other.create("app", "default")
    assert (await running.bearer(key).get("/v1/models")).status_code == 200


async def test_a_key_that_another_server_revoked_is_known_to_be_after_a_refresh(
    running: RunningApp,
) -> None:
    client = running.bearer(await running.key("app"))
    assert (await client.get("/v1/models")).status_code == 200
    async with another_server(running) as other:
        await other.revoke(other.rows[0].id, None)
    await running.services.keys.refresh()
    assert (await client.get("/v1/models")).status_code == 401


async def test_a_key_that_another_server_made_closes_an_open_server(running: RunningApp) -> None:
    assert (await running.anyone.get("/v1/models")).status_code == 200
    async with another_server(running) as other:
        await other.create("app", "default")
    await running.services.keys.refresh()
    assert (await running.anyone.get("/v1/models")).status_code == 401


async def test_many_wrong_keys_are_few_queries(running: RunningApp) -> None:
    await running.key("app")
    queries: list[str] = []

    def note(*executed: Any) -> None:
        queries.extend(part for part in executed if isinstance(part, str) and "api_key" in part)

    reader = running.services.database._engines.reader.sync_engine
    event.listen(reader, "before_cursor_execute", note)
    keys = [f"pawl_0123456789ab_{number}" for number in range(100)]
    for _ in range(3):
        told = await asyncio.gather(*(running.bearer(key).get("/v1/models") for key in keys))
        assert {one.status_code for one in told} == {401}
    assert 1 <= len(queries) < 10
