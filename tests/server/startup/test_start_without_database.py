"""A start while the database is away: chat from what was last known, the rest made up for later."""

import asyncio
import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from bench.support.postgres import UNSYNCED, PostgresServer, running_postgres
from server.app import create_app, lifespan
from server.engine.fake.engine import FakeEngine
from server.errors import SetupError
from server.startup.last_known import FILE
from tests.server.running_app import RunningApp, chat_body, running_app, test_settings
from tests.server.serving.test_last_byte import caught_up, locked, rows
from tests.server.startup.test_restart import damage, live_version
from tests.waiting import until

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
_NUMBERS = count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL that may be stopped."""
    with running_postgres(UNSYNCED) as made:
        yield made


@contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    server.kill()
    try:
        yield
    finally:
        if not server.running:
            server.start()


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    """A new database."""
    name = f"start_{next(_NUMBERS)}"
    server.execute(f"CREATE DATABASE {name}")
    yield server.url(name)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def made_up(running: RunningApp) -> None:
    """Wait until the server is as if the database had been there."""
    await until(lambda: running.services.deferred.done)
    await caught_up(running)


def readiness(ready: Any) -> tuple[int, str]:
    return ready.status_code, ready.json()["database"]


async def test_chat_goes_on_with_keys_routes_and_versions_as_last_known(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    async with running_app(data, database_url=url) as before:
        version = await live_version(before, tmp_path)
        key = await before.key("app")
        asked = (await before.bearer(key).post(CHAT, json=chat_body())).json()
    with stopped(server):
        async with running_app(data, database_url=url) as running:
            client = running.bearer(key)
            answer = await client.post(CHAT, json=chat_body())
            assert answer.json()["model"] == f"pawl@{version}"
            assert readiness(await running.anyone.get("/health/ready")) == (200, "degraded")
            said = [
                await client.post(
                    "/v1/feedback",
                    json={"inference_id": body["id"], "metric_name": "thumbs", "value": True},
                )
                for body in (asked, answer.json())
            ]
            assert [one.status_code for one in said] == [200, 200]
            unknown = running.bearer("pawl_0123456789ab_unknown")
            assert (await unknown.post(CHAT, json=chat_body())).status_code == 503
            assert (await running.operator.get("/v1/adapters")).status_code == 503
            server.start()  # by this thread: it ends with its starter
            await made_up(running)
            assert readiness(await running.anyone.get("/health/ready")) == (200, "ok")
            for body in (asked, answer.json()):
                row = (await client.get(f"/v1/interactions/{body['id']}")).json()
                assert (row["version"], len(row["feedback"])) == (version, 1)
            (listed,) = (await running.operator.get("/v1/adapters")).json()
            assert (listed["name"], listed["state"]) == (version, "live")
            run = await running.operator.post("/v1/runs", json={})
            assert run.status_code == 202


async def test_a_damaged_live_is_not_served_without_the_database_either(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    async with running_app(data, database_url=url) as before:
        version = await live_version(before, tmp_path)
    damage(data / "adapters" / "pawl" / version)
    with stopped(server):
        async with running_app(data, database_url=url) as running:
            answer = await running.anyone.post(CHAT, json=chat_body())
            assert answer.json()["model"] == "pawl@base"


async def test_under_another_base_model_the_version_is_not_loaded(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    async with running_app(data, database_url=url) as before:
        await live_version(before, tmp_path)
    with stopped(server):
        async with running_app(data, database_url=url, engine={"model": "another"}) as running:
            answer = await running.anyone.post(CHAT, json=chat_body())
            assert answer.json()["model"] == "pawl@base"


async def test_a_locked_sqlite_does_not_stop_a_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running_app(data) as before:
        version = await live_version(before, tmp_path)
    with locked(data / "pawl.db"):
        async with running_app(data) as running:
            answer = await running.anyone.post(CHAT, json=chat_body())
            assert answer.json()["model"] == f"pawl@{version}"
    async with running_app(data) as after:
        await caught_up(after)
        found = rows(data / "pawl.db", "SELECT version FROM interaction")
        assert found == [(version,)]


async def started(app: FastAPI) -> None:
    async with lifespan(app):
        raise AssertionError("it has started")


def app_on(url: str, data: Path, **server: Any) -> FastAPI:
    async def start(config: Any) -> FakeEngine:
        return FakeEngine(config)

    return create_app(test_settings(data, database_url=url, server=server), start_engine=start)


async def test_without_a_file_the_start_gives_up_after_a_while_and_says_what_to_do(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    with stopped(server), pytest.raises(SetupError, match="start the database"):
        await started(app_on(url, tmp_path / "data", database_wait_seconds=0))


async def test_without_a_file_the_start_waits_for_the_database(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    with stopped(server):
        app = app_on(url, tmp_path / "data", database_wait_seconds=60)
        app.state.url = "http://127.0.0.1"
        entered = lifespan(app)
        entering = asyncio.ensure_future(entered.__aenter__())
        await asyncio.sleep(0)
        server.start()  # by this thread: it ends with its starter
        await entering
        assert app.state.services.deferred.done
        await entered.__aexit__(None, None, None)


async def test_the_file_of_another_database_is_not_taken(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    async with running_app(data):
        await until((data / FILE).exists)
    with stopped(server), pytest.raises(SetupError):
        await started(app_on(url, data, database_wait_seconds=0))


async def test_a_file_that_cannot_be_read_is_as_none(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / FILE).write_text('{"half": ')
    with stopped(server), pytest.raises(SetupError):
        await started(app_on(url, data, database_wait_seconds=0))


async def test_the_file_holds_no_key_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running_app(data) as running:
        key = await running.key("app")
        await until(lambda: (data / FILE).exists() and bool(kept(data)["keys"]))
    assert stat.S_IMODE((data / FILE).stat().st_mode) == 0o600
    assert key not in (data / FILE).read_text()
    assert not list(data.glob("*.new"))


async def test_the_file_follows_the_route(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running_app(data) as running:
        version = await live_version(running, tmp_path)
        await until(lambda: [row["name"] for row in kept(data)["versions"]] == [version])
        done = await running.operator.post("/v1/rollback", json={"reason": "test"})
        assert done.status_code == 200
        await until(lambda: {row["live"] for row in kept(data)["routes"]} == {"base"})


def kept(data: Path) -> Any:
    file = data / FILE
    return json.loads(file.read_text()) if file.exists() else {"versions": [], "keys": []}
