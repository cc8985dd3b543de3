"""Who may do what: every route, every role, and other tenants' things that are not there."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from feedback.errors import InteractionNotFoundError
from server.app import create_app, lifespan
from server.auth.keys import hash_key
from server.engine.fake.engine import FakeEngine
from server.errors import SetupError
from tests.adapters.adapter_files import make_adapter
from tests.server.running_app import (
    LOOPBACK,
    RunningApp,
    chat_body,
    client_of,
    running_app,
    test_settings,
)

pytestmark = pytest.mark.anyio

PUBLIC = {("GET", "/health/live"), ("GET", "/health/ready"), ("GET", "/metrics")}
FOR_APPLICATIONS = {
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/comparisons"),
    ("POST", "/v1/responses"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model:path}"),
    ("POST", "/v1/feedback"),
    ("DELETE", "/v1/feedback/{feedback_id:path}"),
    ("POST", "/v1/feedback-tokens"),
    ("POST", "/v1/interactions"),
    ("POST", "/v1/interactions/batch"),
    ("GET", "/v1/interactions/{identifier}"),
    ("GET", "/openapi.json"),
}
FOR_OPERATORS = {("GET", "/v1/retention"), ("POST", "/v1/retention")}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
REFUSED = {401, 403, 405}
MADE_UP = "pawl_0123456789ab_nobodys"


def operations(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method and path that is answered."""
    for route in app.routes:
        assert isinstance(route, APIRoute), f"{route} has no dependencies that could ask for a key"
        for method in route.methods:
            yield method, route.path
        if "GET" in route.methods:
            yield "HEAD", route.path


def reading(method: str, path: str) -> tuple[str, str]:
    """What needs the same role: HEAD is GET without a body."""
    return ("GET" if method == "HEAD" else method), path


async def status(client: httpx.AsyncClient, method: str, path: str) -> int:
    """What a request without a body gets."""
    response = await client.request(method, re.sub(r"{\w+}", "none", path))
    return response.status_code


async def test_without_a_key_nothing_but_health_and_metrics_is_answered(
    running: RunningApp,
) -> None:
    await running.key("admin")
    for client in (running.anyone, running.bearer(MADE_UP)):
        for method, path in operations(running.app):
            refused = await status(client, method, path) == 401
            assert refused == (reading(method, path) not in PUBLIC), (method, path)


async def test_every_method_on_every_path_is_refused_or_known(running: RunningApp) -> None:
    await running.key("admin")
    known = set(operations(running.app))
    for path in {path for _, path in known}:
        for method in METHODS:
            if reading(method, path) not in PUBLIC:
                assert await status(running.anyone, method, path) in REFUSED, (method, path)


async def test_an_application_may_chat_and_rate_and_nothing_else(running: RunningApp) -> None:
    client = running.bearer(await running.key("app"))
    for method, path in operations(running.app):
        refused = await status(client, method, path) in (401, 403)
        allowed = reading(method, path) in FOR_APPLICATIONS | PUBLIC
        assert refused != allowed, (method, path)


async def test_an_administrator_may_do_everything_but_what_concerns_all_tenants(
    running: RunningApp,
) -> None:
    client = running.bearer(await running.key("admin"))
    for method, path in operations(running.app):
        refused = await status(client, method, path) in (401, 403)
        assert refused == (reading(method, path) in FOR_OPERATORS), (method, path)


async def test_the_machine_s_operator_may_do_everything(running: RunningApp) -> None:
    await running.key("admin")
    for method, path in operations(running.app):
        assert await status(running.operator, method, path) not in (401, 403), (method, path)


@pytest.mark.parametrize("purpose", ["evaluation", "counterpart"])
async def test_the_purpose_of_our_own_traffic_wants_an_administrator(
    running: RunningApp, purpose: str
) -> None:
    client = running.bearer(await running.key("app"))
    headers = {"x-pawl-purpose": purpose}
    answer = await client.post("/v1/chat/completions", json=chat_body(), headers=headers)
    assert answer.status_code == 403


async def test_a_revoked_key_ends_at_once(running: RunningApp) -> None:
    key = await running.key("app")
    client = running.bearer(key)
    assert await status(client, "GET", "/v1/models") == 200
    (row,) = (await running.operator.get("/v1/keys")).json()
    assert await status(running.operator, "DELETE", f"/v1/keys/{row['id']}") == 204
    assert await status(client, "GET", "/v1/models") == 401


async def test_after_the_last_key_was_revoked_nobody_is_let_in_without(tmp_path: Path) -> None:
    async with running_app(tmp_path) as first:
        await first.key("admin")
        (row,) = (await first.operator.get("/v1/keys")).json()
        await first.operator.delete(f"/v1/keys/{row['id']}")
    async with running_app(tmp_path) as second:
        assert await status(second.anyone, "GET", "/v1/models") == 401


async def test_only_hashes_of_keys_are_kept(tmp_path: Path) -> None:
    async with running_app(tmp_path) as running:
        key = await running.key("admin")
        token = running.services.operator_token
    files = contents(tmp_path)
    secret = key.split("_", 2)[2].encode()
    assert not [name for name, data in files.items() if secret in data or token.encode() in data]
    assert hash_key(key).encode() in b"".join(files.values())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])  # noqa: S104
async def test_without_keys_no_address_but_loopback_is_served(tmp_path: Path, host: str) -> None:
    settings = test_settings(tmp_path, server={"host": host})
    app = create_app(settings, start_engine=_never)
    with pytest.raises(SetupError, match="pawl keys create"):
        async with lifespan(app):
            pytest.fail("the server started")


async def _never(_config: object) -> FakeEngine:
    raise AssertionError("the engine was started first")


async def test_with_a_key_the_world_is_served(tmp_path: Path) -> None:
    async with running_app(tmp_path) as alone:
        key = await alone.key("app")
    async with running_app(tmp_path, server={"host": "0.0.0.0"}) as running:  # noqa: S104
        client = running.bearer(key, base_url="http://pawl.example.org")
        assert await status(client, "GET", "/v1/models") == 200
        assert await status(running.anyone, "GET", "/v1/models") == 401


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "LOCALHOST", "[::1]:8000"])
async def test_this_machines_names_are_served_without_keys(running: RunningApp, host: str) -> None:
    answer = await running.anyone.get("/v1/models", headers={"host": host})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.org",
        "localhost.evil.example.org",
        "127.0.0.1.evil.example.org",
        "127.0.0.1@evil.example.org",
        "evil.example.org#@localhost",
        "e|vil",
        "[::1",
        "localhost:x",
        "",
    ],
)
async def test_foreign_names_are_refused_without_keys(running: RunningApp, host: str) -> None:
    for path in ("/v1/models", "/v1/keys", "/openapi.json"):
        answer = await running.anyone.get(path, headers={"host": host})
        assert answer.status_code == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_that_a_web_page_could_send_is_refused(running: RunningApp, kind: str) -> None:
    for path in ("/v1/chat/completions", "/v1/feedback", "/v1/keys", "/v1/rollback"):
        answer = await running.anyone.post(
            path, content=b'{"model": "pawl", "role": "admin"}', headers={"content-type": kind}
        )
        assert answer.status_code == 400


async def test_a_tenants_interactions_are_not_there_for_others(running: RunningApp) -> None:
    ours = running.bearer(await running.key("app"))
    theirs = running.bearer(await running.key("admin", "other"))
    answer = await ours.post("/v1/chat/completions", json=chat_body())
    identifier = answer.json()["id"]
    rating = {"inference_id": identifier, "metric_name": "thumbs", "value": True}
    assert await status(ours, "GET", f"/v1/interactions/{identifier}") == 200
    assert await status(theirs, "GET", f"/v1/interactions/{identifier}") == 404
    told = await theirs.post("/v1/feedback", json=rating)
    assert told.status_code == 404
    assert told.json()["error"]["message"] == str(InteractionNotFoundError("inference_id"))


async def test_a_tenants_channels_are_not_there_for_others(running: RunningApp) -> None:
    theirs = running.bearer(await running.key("admin", "other"))
    listed = {card["id"] for card in (await theirs.get("/v1/models")).json()["data"]}
    assert {name.partition("@")[0] for name in listed} == {"other", "common"}
    answer = await theirs.post("/v1/chat/completions", json=chat_body())
    assert answer.status_code == 404
    for path in ("/v1/adapters", "/v1/runs", "/v1/route", "/v1/pairs", "/v1/pairs/export"):
        told = await theirs.get(path, params={"channel": "pawl"})
        missing = await theirs.get(path, params={"channel": "nowhere"})
        assert (told.status_code, told.json()) == (404, missing.json())


async def test_whoever_shares_a_channel_does_not_run_it(running: RunningApp) -> None:
    theirs = running.bearer(await running.key("admin", "other"))
    answer = await theirs.post("/v1/chat/completions", json=chat_body(model="common"))
    assert answer.status_code == 200
    for path in ("/v1/adapters", "/v1/runs", "/v1/route", "/v1/pairs", "/v1/pairs/export"):
        assert (await theirs.get(path, params={"channel": "common"})).status_code == 404
    body = {"channel": "common", "reason": "mine now"}
    assert (await theirs.post("/v1/rollback", json=body)).status_code == 404
    assert (await theirs.put("/v1/route", json={**body, "live": "base"})).status_code == 404
    assert (await theirs.post("/v1/runs", json={"channel": "common"})).status_code == 404


async def test_a_tenants_versions_and_runs_are_not_there_for_others(
    running: RunningApp, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path / "adapter")
    added = await running.operator.post("/v1/adapters", json={"path": str(adapter)})
    assert added.status_code == 201
    version = added.json()["name"]
    run = (await running.operator.post("/v1/runs", json={})).json()["id"]
    theirs = running.bearer(await running.key("admin", "other"))
    for method, path in operations(running.app):
        if "{version}" in path or "{run}" in path:
            real = path.format(version=version, run=run)
            unreal = path.format(version="2026-w01-000000", run="none")
            body = {"reason": "mine"} if method == "POST" else None
            told = await theirs.request(method, real, json=body)
            missing = await theirs.request(method, unreal, json=body)
            assert told.status_code == 404, (method, real)
            assert told.content == missing.content  # HEAD has no body
    answer = await theirs.post("/v1/chat/completions", json=chat_body(model=f"pawl@{version}"))
    assert answer.status_code == 404


async def test_a_tenants_keys_are_not_there_for_others(running: RunningApp) -> None:
    await running.key("app")
    theirs = running.bearer(await running.key("admin", "other"))
    (ours,) = [
        row for row in (await running.operator.get("/v1/keys")).json() if row["tenant"] == "default"
    ]
    assert {row["tenant"] for row in (await theirs.get("/v1/keys")).json()} == {"other"}
    assert await status(theirs, "DELETE", f"/v1/keys/{ours['id']}") == 404
    made = await theirs.post("/v1/keys", json={"role": "app", "tenant": "default"})
    assert made.status_code == 403


async def test_the_description_of_the_api_wants_a_key(running: RunningApp) -> None:
    client = running.bearer(await running.key("app"))
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert "/v1/chat/completions" in paths
    async with client_of(running.app, base_url=LOOPBACK) as nobody:
        assert await status(nobody, "GET", "/openapi.json") == 401
