"""Without keys only this machine is served: not whoever a proxy on it lets in."""

from pathlib import Path

import pytest

from server.auth.local_requests import came_through_proxy
from tests.server.running_app import LOOPBACK, RunningApp, chat_body, client_of, running_app

FORWARDING = [
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-User",
    "x-forwarded",
    "X-Real-IP",
    "Via",
    "X-Client-IP",
    "X-Cluster-Client-Ip",
    "True-Client-IP",
    "CF-Connecting-IP",
    "CF-Ray",
    "CDN-Loop",
    "Fastly-Client-IP",
    "Fly-Client-IP",
    "X-Original-Forwarded-For",
    "X-Envoy-External-Address",
    "X-Amzn-Trace-Id",
    "Tailscale-User-Login",
    "X-ProxyUser-Ip",
]
ORDINARY = [
    "Host",
    "User-Agent",
    "Accept",
    "Accept-Encoding",
    "Connection",
    "Authorization",
    "Content-Type",
    "Content-Length",
    "Origin",
    "Referer",
    "Cookie",
    "X-Request-Id",
    "X-Stainless-Lang",
    "traceparent",
    "x-pawl-purpose",
    "OpenAI-Organization",
]


@pytest.mark.parametrize("name", FORWARDING)
def test_a_proxys_header_is_known(name: str) -> None:
    assert came_through_proxy([*ORDINARY, name], "1.1")


def test_what_clients_send_is_no_proxys() -> None:
    assert not came_through_proxy(ORDINARY, "1.1")


def test_the_version_that_nginx_speaks_by_default_is_a_proxys() -> None:
    assert came_through_proxy([], "1.0")


@pytest.mark.anyio
async def test_while_there_is_no_key_a_proxied_request_is_refused(running: RunningApp) -> None:
    for name in FORWARDING:
        refused = await running.anyone.get("/v1/models", headers={name: "203.0.113.7"})
        assert refused.status_code == 403, name
        assert "pawl keys create" in refused.text


@pytest.mark.anyio
async def test_no_route_but_the_open_ones_lets_a_proxied_request_in(running: RunningApp) -> None:
    headers = {"x-forwarded-for": "203.0.113.7"}
    for path in ("/v1/models", "/v1/keys", "/openapi.json"):
        assert (await running.anyone.get(path, headers=headers)).status_code == 403, path
    for path in ("/v1/chat/completions", "/v1/feedback", "/v1/rollback"):
        refused = await running.anyone.post(path, headers=headers, json=chat_body())
        assert refused.status_code == 403, path
    assert (await running.anyone.get("/health/live", headers=headers)).status_code == 200


@pytest.mark.anyio
async def test_an_empty_forwarding_header_counts(running: RunningApp) -> None:
    assert (await running.anyone.get("/v1/models", headers={"via": ""})).status_code == 403


@pytest.mark.anyio
async def test_with_a_key_proxies_are_welcome(running: RunningApp) -> None:
    client = running.bearer(await running.key("app"), base_url="https://llm.example.org")
    answer = await client.get("/v1/models", headers={"x-forwarded-for": "203.0.113.7"})
    assert answer.status_code == 200


@pytest.mark.anyio
async def test_once_a_key_was_made_nobody_is_let_in_without(tmp_path: Path) -> None:
    async with running_app(tmp_path / "data") as running:
        await running.key("app")
        client = client_of(running.app, base_url=LOOPBACK, headers={"forwarded": "for=x"})
        assert (await client.get("/v1/models")).status_code == 401
