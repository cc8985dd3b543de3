"""Feedback tokens: a browser rates one answer, as one rater, for a while, and does nothing else."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.clock import AdjustableClock
from server.config import ServerConfig
from tests.server.auth.test_auth import operations
from tests.server.running_app import RunningApp, chat_body, running_app

pytestmark = pytest.mark.anyio

SHOP = "https://shop.example.org"
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}


@pytest.fixture
async def keyed(running: RunningApp) -> httpx.AsyncClient:
    """An application of a server that has keys."""
    return running.bearer(await running.key("app"))


@pytest.fixture
async def open_to_pages(anyio_backend: object, tmp_path: Path) -> AsyncIterator[RunningApp]:
    """Without keys, and with a page that may send feedback."""
    async with running_app(tmp_path, server={"cors_origins": [SHOP]}) as app:
        yield app


async def answered(client: httpx.AsyncClient) -> str:
    """An interaction."""
    identifier: str = (await client.post("/v1/chat/completions", json=chat_body())).json()["id"]
    return identifier


async def token_for(client: httpx.AsyncClient, identifier: str, **fields: Any) -> str:
    body = {"inference_id": identifier, **fields}
    made = await client.post("/v1/feedback-tokens", json=body)
    assert made.status_code == 200
    token: str = made.json()["token"]
    return token


def thumbs(identifier: str, **fields: Any) -> dict[str, Any]:
    return {"inference_id": identifier, "metric_name": "thumbs", "value": True, **fields}


async def test_a_token_rates_its_interaction_as_its_rater_and_as_a_human(
    running: RunningApp, keyed: httpx.AsyncClient
) -> None:
    identifier = await answered(keyed)
    browser = running.bearer(await token_for(keyed, identifier, rater="anna"))
    rated = await browser.post(
        "/v1/feedback", json=thumbs(identifier, rater="somebody else", source="CODE")
    )
    assert rated.status_code == 200
    (said,) = (await keyed.get(f"/v1/interactions/{identifier}")).json()["feedback"]
    assert (said["rater"], said["source"], said["value"]) == ("anna", "HUMAN", True)


async def test_a_token_without_a_rater_leaves_it_to_the_interactions_user(
    running: RunningApp, keyed: httpx.AsyncClient
) -> None:
    identifier = await answered(keyed)
    browser = running.bearer(await token_for(keyed, identifier))
    await browser.post("/v1/feedback", json=thumbs(identifier, rater="somebody else"))
    (said,) = (await keyed.get(f"/v1/interactions/{identifier}")).json()["feedback"]
    assert said["rater"] is None


async def test_a_token_is_for_its_interaction_alone(
    running: RunningApp, keyed: httpx.AsyncClient
) -> None:
    identifier, other = await answered(keyed), await answered(keyed)
    browser = running.bearer(await token_for(keyed, identifier))
    refused = await browser.post("/v1/feedback", json=thumbs(other))
    assert refused.status_code == 403
    for outcome in ("over", "tie", "both_bad"):
        word = {"metric_name": "preference", "value": {outcome: other}}
        told = await browser.post("/v1/feedback", json={"inference_id": identifier, **word})
        assert told.status_code == 200
        turned = {**word, "value": {outcome: identifier}}
        refused = await browser.post("/v1/feedback", json={"inference_id": other, **turned})
        assert refused.status_code == 403


async def test_a_preference_over_another_tenants_answer_is_refused(
    running: RunningApp, keyed: httpx.AsyncClient
) -> None:
    theirs = running.bearer(await running.key("app", "other"))
    their_body = chat_body(model="other")
    foreign = (await theirs.post("/v1/chat/completions", json=their_body)).json()["id"]
    identifier = await answered(keyed)
    browser = running.bearer(await token_for(keyed, identifier))
    preferred = {
        "inference_id": identifier,
        "metric_name": "preference",
        "value": {"over": foreign},
    }
    assert (await browser.post("/v1/feedback", json=preferred)).status_code == 404


async def test_a_token_opens_no_other_route(running: RunningApp, keyed: httpx.AsyncClient) -> None:
    browser = running.bearer(await token_for(keyed, await answered(keyed)))
    closed = [
        (method, path)
        for method, path in operations(running.app)
        if not re.match(r"/v1/feedback(/|$)|/metrics|/health", path)
    ]
    assert closed
    for method, path in closed:
        refused = await browser.request(method, re.sub(r"{\w+}", "none", path))
        assert refused.status_code == 401, (method, path)
        assert method == "HEAD" or "/v1/feedback alone" in refused.json()["error"]["message"]


async def test_a_token_takes_back_what_was_said_with_it_and_nothing_else(
    running: RunningApp, keyed: httpx.AsyncClient
) -> None:
    identifier, other = await answered(keyed), await answered(keyed)
    browser = running.bearer(await token_for(keyed, identifier, rater="anna"))
    own = (await browser.post("/v1/feedback", json=thumbs(identifier))).json()["feedback_id"]
    foreign = [
        (await keyed.post("/v1/feedback", json=body)).json()["feedback_id"]
        for body in (
            thumbs(identifier),
            thumbs(identifier, rater="anna", source="CODE"),
            thumbs(other, rater="anna"),
        )
    ]
    for word in foreign:
        assert (await browser.delete(f"/v1/feedback/{word}")).status_code == 403
    assert (await browser.delete(f"/v1/feedback/{own}")).status_code == 200
    left = (await keyed.get(f"/v1/interactions/{identifier}")).json()["feedback"]
    assert own not in [word["id"] for word in left]
    assert len(left) == 2


async def test_a_listed_page_may_take_back(open_to_pages: RunningApp) -> None:
    asked = {**PREFLIGHT, "origin": SHOP, "access-control-request-method": "DELETE"}
    leave = await open_to_pages.anyone.options("/v1/feedback/any", headers=asked)
    assert leave.headers["access-control-allow-origin"] == SHOP
    elsewhere = await open_to_pages.anyone.options("/v1/feedback-tokens", headers=asked)
    assert "access-control-allow-origin" not in elsewhere.headers


async def test_a_token_is_no_key_even_where_everybody_may_in(running: RunningApp) -> None:
    browser = running.bearer(await token_for(running.anyone, await answered(running.anyone)))
    assert (await browser.get("/v1/models")).status_code == 401


async def test_an_expired_token_is_refused_in_words(tmp_path: Path) -> None:
    async with running_app(tmp_path, server={"adjustable_clock": True}) as running:
        identifier = await answered(running.anyone)
        browser = running.bearer(await token_for(running.anyone, identifier, seconds=60))
        clock = running.services.clock
        assert isinstance(clock, AdjustableClock)
        clock.advance(timedelta(minutes=2))
        refused = await browser.post("/v1/feedback", json=thumbs(identifier))
    assert refused.status_code == 401
    assert "has expired" in refused.json()["error"]["message"]


async def test_a_forged_token_is_refused_even_where_everybody_may_in(running: RunningApp) -> None:
    identifier = await answered(running.anyone)
    token = await token_for(running.anyone, identifier)
    refused = await running.bearer(f"{token}a").post("/v1/feedback", json=thumbs(identifier))
    assert refused.status_code == 401
    assert "not issued here" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"seconds": 0}, 422),
        ({"seconds": 86_401}, 422),
        ({"seconds": 86_400}, 200),
        ({"rater": "r" * 300}, 422),
        ({"inference_id": "chatcmpl-" + "a" * 36}, 404),
        ({"tenant": "other"}, 422),
    ],
)
async def test_what_a_token_may_be_for(
    running: RunningApp, fields: dict[str, Any], status: int
) -> None:
    body = {"inference_id": await answered(running.anyone), **fields}
    made = await running.anyone.post("/v1/feedback-tokens", json=body)
    assert made.status_code == status


async def test_another_tenants_answer_gets_no_token(
    running: RunningApp, keyed: httpx.AsyncClient
) -> None:
    theirs = running.bearer(await running.key("app", "other"))
    body = {"inference_id": await answered(keyed)}
    assert (await theirs.post("/v1/feedback-tokens", json=body)).status_code == 404


async def test_by_default_no_page_of_another_origin_may_ask(running: RunningApp) -> None:
    answer = await running.anyone.options("/v1/feedback", headers={"origin": SHOP, **PREFLIGHT})
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


async def test_a_listed_page_rates_with_a_token(open_to_pages: RunningApp) -> None:
    anyone = open_to_pages.anyone
    leave = await anyone.options("/v1/feedback", headers={"origin": SHOP, **PREFLIGHT})
    assert leave.headers["access-control-allow-origin"] == SHOP
    assert "GET" not in leave.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in leave.headers
    identifier = await answered(anyone)
    browser = open_to_pages.bearer(await token_for(anyone, identifier))
    rated = await browser.post("/v1/feedback", json=thumbs(identifier), headers={"origin": SHOP})
    assert rated.status_code == 200
    assert rated.headers["access-control-allow-origin"] == SHOP


async def test_a_listed_page_without_a_token_is_refused_where_everybody_may_in(
    open_to_pages: RunningApp,
) -> None:
    identifier = await answered(open_to_pages.anyone)
    refused = await open_to_pages.anyone.post(
        "/v1/feedback", json=thumbs(identifier), headers={"origin": SHOP}
    )
    assert refused.status_code == 401
    assert "feedback token" in refused.json()["error"]["message"]


async def test_no_page_may_use_anything_but_feedback(open_to_pages: RunningApp) -> None:
    for _, path in operations(open_to_pages.app):
        if not re.match(r"/v1/feedback(/|$)", path):
            answer = await open_to_pages.anyone.options(path, headers={"origin": SHOP, **PREFLIGHT})
            assert "access-control-allow-origin" not in answer.headers, path


async def test_a_page_that_is_not_listed_gets_no_leave(open_to_pages: RunningApp) -> None:
    headers = {"origin": "https://evil.example.org", **PREFLIGHT}
    answer = await open_to_pages.anyone.options("/v1/feedback", headers=headers)
    assert "access-control-allow-origin" not in answer.headers


async def test_a_foreign_host_is_refused_with_a_token_too(open_to_pages: RunningApp) -> None:
    identifier = await answered(open_to_pages.anyone)
    browser = open_to_pages.bearer(await token_for(open_to_pages.anyone, identifier))
    refused = await browser.post(
        "/v1/feedback", json=thumbs(identifier), headers={"host": "evil.example.org"}
    )
    assert refused.status_code == 403


@pytest.mark.parametrize("origin", ["*", "null", "shop.example.org", f"{SHOP}/", "HTTPS://A.ORG"])
def test_only_origins_as_browsers_send_them_can_be_listed(origin: str) -> None:
    with pytest.raises(ValueError, match="cors_origins"):
        ServerConfig(cors_origins=[origin])
