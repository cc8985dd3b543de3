"""What the API answers is what its own description says of it."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from tests.adapters.adapter_files import make_adapter
from tests.server.running_app import LOOPBACK, RunningApp, chat_body, client_of

pytestmark = pytest.mark.anyio


ROWS_FAIL_ALONE = "/v1/interactions/batch"
"""Takes rows that are not as described, and refuses each by itself."""


def wrong(document: dict[str, Any], described: Any, value: Any) -> list[str]:
    """What is wrong with `value` by the JSON schema of a described body."""
    schema = described["content"]["application/json"]["schema"]
    whole = {**schema, "components": document["components"]}
    validator = Draft202012Validator(whole, format_checker=FormatChecker())
    return [error.message for error in validator.iter_errors(value)]


def complaints(running: RunningApp, path: str, answer: httpx.Response) -> list[str]:
    """What is wrong with `answer` by the description of the operation on `path`.

    Where it is a success, what was sent has to be as described, too.
    """
    document = running.app.openapi()
    operation = document["paths"][path][answer.request.method.lower()]
    told = operation["responses"].get(str(answer.status_code))
    if told is None:
        return [f"{answer.status_code} is not described"]
    found = wrong(document, told, answer.json())
    sent = answer.request.content
    if sent and answer.is_success and path != ROWS_FAIL_ALONE:
        found += wrong(document, operation["requestBody"], json.loads(sent))
    return found


async def ask(
    running: RunningApp, method: str, path: str, *, status: int, at: str = "", **sent: Any
) -> Any:
    """The JSON answer to the operator, which has that status and is as described."""
    answer = await running.operator.request(method, at or path, **sent)
    assert answer.status_code == status, answer.text
    assert complaints(running, path, answer) == []
    return answer.json()


async def test_chat_completions_and_comparisons(running: RunningApp) -> None:
    chat = "/v1/chat/completions"
    await ask(running, "POST", chat, status=200, json=chat_body(n=2))
    await ask(running, "POST", chat, status=200, json=chat_body(user="ada", metadata={"a": "b"}))
    prompt = {"model": "pawl", "prompt": "So"}
    await ask(running, "POST", "/v1/completions", status=200, json=prompt)
    await ask(running, "POST", "/v1/comparisons", status=200, json=chat_body())


async def test_models(running: RunningApp) -> None:
    listed = await ask(running, "GET", "/v1/models", status=200)
    one = f"/v1/models/{listed['data'][0]['id']}"
    await ask(running, "GET", "/v1/models/{model}", status=200, at=one)
    await ask(running, "GET", "/v1/models/{model}", status=404, at="/v1/models/none")


async def test_feedback_and_interactions(running: RunningApp) -> None:
    answer = await ask(running, "POST", "/v1/chat/completions", status=200, json=chat_body())
    judged = {"inference_id": answer["id"], "metric_name": "thumbs", "value": True}
    stored = await ask(running, "POST", "/v1/feedback", status=200, json=judged)
    token = {"inference_id": answer["id"]}
    await ask(running, "POST", "/v1/feedback-tokens", status=200, json=token)
    path = "/v1/interactions/{identifier}"
    shown = await ask(running, "GET", path, status=200, at=f"/v1/interactions/{answer['id']}")
    assert shown["feedback"]
    path = "/v1/feedback/{feedback_id}"
    at = f"/v1/feedback/{stored['feedback_id']}"
    await ask(running, "DELETE", path, status=200, at=at)


async def test_interactions_of_other_models(running: RunningApp) -> None:
    row = {"model": "elsewhere", "prompt": "So", "choices": [{"text": "what"}]}
    await ask(running, "POST", "/v1/interactions", status=200, json=row)
    rows = {"interactions": [row, {"model": 1}]}
    told = await ask(running, "POST", "/v1/interactions/batch", status=200, json=rows)
    assert [set(one) for one in told["results"]] == [{"inference_id"}, {"error"}]


async def test_adapters_and_routes(running: RunningApp, tmp_path: Path) -> None:
    folder = {"path": str(make_adapter(tmp_path / "adapter"))}
    added = await ask(running, "POST", "/v1/adapters", status=201, json=folder)
    name = added["name"]
    listed = await ask(running, "GET", "/v1/adapters", status=200)
    assert [one["name"] for one in listed] == [name]
    path = "/v1/adapters/{version}/promote"
    at = path.format(version=name)
    await ask(running, "POST", path, status=200, at=at, json={"reason": "better"})
    path = "/v1/adapters/{version}/events"
    await ask(running, "GET", path, status=200, at=path.format(version=name))
    await ask(running, "GET", "/v1/route", status=200)
    await ask(running, "POST", "/v1/rollback", status=200, json={})
    await ask(running, "PUT", "/v1/route", status=200, json={"live": "base"})


async def test_runs_rollouts_and_servers(running: RunningApp) -> None:
    begun = await ask(running, "POST", "/v1/runs", status=202, json={})
    path = "/v1/runs/{run}"
    await ask(running, "GET", path, status=200, at=f"/v1/runs/{begun['id']}")
    listed = await ask(running, "GET", "/v1/runs", status=200)
    assert [one["id"] for one in listed] == [begun["id"]]
    for name in (
        "/v1/pairs",
        "/v1/rollouts",
        "/v1/budget",
        "/v1/servers",
        "/health/ready",
        "/health/live",
    ):
        await ask(running, "GET", name, status=200)


async def test_keys(running: RunningApp) -> None:
    made = await ask(running, "POST", "/v1/keys", status=200, json={"role": "app"})
    listed = await ask(running, "GET", "/v1/keys", status=200)
    assert made["id"] in {one["id"] for one in listed}
    path = "/v1/keys/{identifier}"
    await ask(running, "DELETE", path, status=404, at="/v1/keys/none")
    ended = await running.operator.delete(f"/v1/keys/{made['id']}")
    assert (ended.status_code, ended.content) == (204, b"")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", {"model": "pawl"}, 400),
        ("/v1/chat/completions", chat_body(model="none"), 404),
        ("/v1/chat/completions", chat_body(user="a" * 2_000_000), 413),
        ("/v1/completions", {"model": "pawl", "prompt": "So", "suffix": "a"}, 400),
        ("/v1/comparisons", chat_body(between="none"), 400),
        ("/v1/comparisons", chat_body(between="shadow"), 409),
        ("/v1/feedback", {}, 422),
        ("/v1/feedback", {"inference_id": "a", "metric_name": "thumbs", "value": True}, 404),
        ("/v1/interactions", {"model": 1}, 422),
        ("/v1/interactions", {"model": "a", "channel": "none"}, 404),
        ("/v1/adapters", {"path": "/nonexistent"}, 422),
        ("/v1/rollback", {"channel": "none"}, 404),
        ("/v1/keys", {"role": "none"}, 422),
        ("/v1/runs", {"slot": "none"}, 422),
    ],
)
async def test_errors(running: RunningApp, path: str, body: Any, status: int) -> None:
    told = await ask(running, "POST", path, status=status, json=body)
    assert set(told["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/retention"), ("POST", "/v1/retention")])
async def test_a_state_that_does_not_allow_it(running: RunningApp, method: str, path: str) -> None:
    await ask(running, method, path, status=409)


async def test_no_key_and_a_key_without_the_role(running: RunningApp) -> None:
    application = running.bearer(await running.key("app"))
    async with client_of(running.app, base_url=LOOPBACK) as nobody:
        for client, status in ((nobody, 401), (application, 403)):
            answer = await client.get("/v1/keys")
            assert answer.status_code == status
            assert complaints(running, "/v1/keys", answer) == []


async def test_a_body_is_not_read_before_it_is_known_who_asks(running: RunningApp) -> None:
    await running.key("app")
    for content in (b"no JSON", b"{" * 2_000_000):
        answer = await running.anyone.post("/v1/feedback", content=content)
        assert answer.status_code == 401
