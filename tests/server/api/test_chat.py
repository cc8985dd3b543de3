"""The chat endpoint: labels and headers, what is refused and how, and what the log then says."""

import json
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from server.engine.base import EngineCall, EngineResponse
from server.engine.fake.engine import FakeEngine
from tests.server.running_app import QUESTION, RunningApp, chat_body, client_of, running_app

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
SECRET = "the-clients-own-words"


def events(text: str) -> list[Any]:
    """The data of a stream's events, decoded."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


async def post(running: RunningApp, path: str = CHAT, **fields: Any) -> httpx.Response:
    return await running.anyone.post(path, json=chat_body(**fields))


async def stored(running: RunningApp, identifier: str) -> dict[str, Any]:
    """An interaction as the log has it."""
    answer = await running.anyone.get(f"/v1/interactions/{identifier}")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_says_who_gave_it(running: RunningApp, stream: bool) -> None:
    answer = await post(running, stream=stream)
    parts = events(answer.text)[:-1] if stream else [answer.json()]
    assert {part["id"] for part in parts} == {answer.headers["x-pawl-interaction"]}
    assert {part["model"] for part in parts} == {"pawl@base"}
    assert answer.headers["x-pawl-version"] == "base"
    assert answer.headers["x-pawl-role"] == "live"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_version_that_was_named_is_pinned(running: RunningApp, stream: bool) -> None:
    answer = await post(running, model="pawl@base", stream=stream)
    assert answer.headers["x-pawl-role"] == "pinned"


async def test_a_completion_has_an_id_of_its_kind(running: RunningApp) -> None:
    answer = await running.anyone.post("/v1/completions", json={"model": "pawl", "prompt": "So"})
    assert answer.json()["id"] == answer.headers["x-pawl-interaction"]
    assert answer.json()["id"].startswith("cmpl-")


async def test_the_log_has_what_was_answered(running: RunningApp) -> None:
    answer = await post(running, n=2, user="ada")
    row = await stored(running, answer.json()["id"])
    texts = [choice["message"]["content"] for choice in answer.json()["choices"]]
    assert [choice["text"] for choice in row["choices"]] == texts
    assert (row["status"], row["user"], row["request"]["messages"]) == (
        "complete",
        "ada",
        [QUESTION],
    )
    assert row["completion_tokens"] == answer.json()["usage"]["completion_tokens"]
    assert row["first_token_seconds"] is not None


@pytest.mark.parametrize(
    "model", ["gpt-5", "pawl@nope", "pawl@canary", "pawl@", "@base", "paw\u0142", "x" * 200]
)
async def test_an_unknown_model_is_not_there(running: RunningApp, model: str) -> None:
    answer = await post(running, model=model)
    assert answer.status_code == 404
    assert "GET /v1/models" in answer.json()["error"]["message"]


@pytest.mark.parametrize("model", [f"{SECRET} spaced", f"<b>{SECRET}</b>", SECRET * 10])
async def test_a_name_that_is_none_is_not_echoed(running: RunningApp, model: str) -> None:
    answer = await post(running, model=model)
    assert answer.status_code == 404
    assert SECRET not in answer.text


REFUSED: dict[str, Any] = {
    "n": 9,
    "top_logprobs": 21,
    "use_beam_search": True,
    "best_of": 2,
    "priority": -1,
    "prompt_logprobs": 30,
    "chat_template": SECRET,
    "prompt_embeds": SECRET,
    "kv_transfer_params": {"a": SECRET},
    "temperature": SECRET,
    "stream": SECRET,
    "max_tokens": -1,
    "messages": SECRET,
    "model": {"a": SECRET},
    SECRET: True,
}


@pytest.mark.parametrize("field", REFUSED)
async def test_what_is_refused_names_its_field_and_echoes_nothing(
    running: RunningApp, field: str
) -> None:
    answer = await post(running, **{field: REFUSED[field]})
    assert answer.status_code == 400
    assert SECRET not in answer.text
    if field != SECRET:
        assert answer.json()["error"]["param"] == field


@pytest.mark.parametrize("field", ["n", "top_logprobs", "use_beam_search", "priority"])
async def test_limits_are_checked_before_the_engine(
    running: RunningApp, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[EngineCall] = []

    async def answer(_engine: object, call: EngineCall) -> EngineResponse:
        calls.append(call)
        raise AssertionError("asked")

    monkeypatch.setattr(type(running.engine), "answer", answer)
    assert (await post(running, **{field: REFUSED[field]})).status_code == 400
    assert calls == []


@pytest.mark.parametrize("prompt", [["a", "b"], [[1], [2]], [], [SECRET, SECRET], [{"a": SECRET}]])
async def test_a_list_of_prompts_is_refused(running: RunningApp, prompt: Any) -> None:
    answer = await running.anyone.post("/v1/completions", json={"model": "pawl", "prompt": prompt})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")
    assert SECRET not in answer.text


async def test_the_responses_api_is_left_out_and_says_so(running: RunningApp) -> None:
    answer = await running.anyone.post("/v1/responses", json={"model": "pawl", "input": "hi"})
    assert answer.status_code == 404
    assert "/v1/chat/completions" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", [CHAT, "/v1/feedback", "/v1/interactions", "/v1/adapters"])
async def test_a_body_over_the_limit_is_refused_by_its_length(
    running: RunningApp, path: str
) -> None:
    large = b'{"model": "' + b"a" * 1_000_000 + b'"}'
    answer = await running.anyone.post(path, content=large, headers=JSON)
    assert answer.status_code == 413


async def test_a_chunked_body_is_read_no_further_than_the_limit(running: RunningApp) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 5_000_000:
            read += 100_000
            yield b" " * 100_000

    scope_headers = [(b"content-type", b"application/json"), (b"host", b"127.0.0.1")]
    status = await chunked(running, endless(), scope_headers)
    assert status == 413
    assert read <= 1_200_000


async def chunked(
    running: RunningApp, body: AsyncIterator[bytes], headers: list[tuple[bytes, bytes]]
) -> int:
    """Post to the app itself: httpx's transport reads a body whole before the app is asked."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(body), "more_body": True}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": CHAT,
        "raw_path": CHAT.encode(),
        "query_string": b"",
        "headers": headers,
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }
    await running.app(scope, receive, send)
    status: int = sent[0]["status"]
    return status


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


MALFORMED = {
    "half": b'{"model": "pawl", ',
    "nothing": b"",
    "a list": b"[]",
    "a text": b'"pawl"',
    "NaN": b'{"model": "pawl", "temperature": NaN}',
    "infinity": b'{"model": "pawl", "temperature": Infinity}',
    "a huge float": b'{"model": "pawl", "temperature": 1e400}',
    "a lone surrogate": b'{"model": "pawl", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "a surrogate key": b'{"model": "pawl", "\\udfff": 1}',
    "not UTF-8": b'{"model": "pawl", "user": "\xff\xfe"}',
    "a NUL": b'{"model": "paw\x00l"}',
    "deep": b'{"model": "pawl", "metadata": ' + nested(300) + b"}",
    "deeper": b'{"model": "pawl", "metadata": ' + nested(1000) + b"}",
    "deepest": b'{"model": "pawl", "metadata": ' + nested(400_000) + b"}",
    "a number over 64 bits": b'{"model": "pawl", "n": 123456789012345678901234567890}',
    "a million digits": b'{"model": "pawl", "n": ' + b"9" * 500_000 + b"}",
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize(
    "path", [CHAT, "/v1/completions", "/v1/comparisons", "/v1/feedback", "/v1/interactions"]
)
async def test_malformed_bodies_are_the_clients_fault(
    running: RunningApp, path: str, name: str
) -> None:
    answer = await running.anyone.post(path, content=MALFORMED[name], headers=JSON)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_question_as_deep_as_is_let_in_is_stored(running: RunningApp) -> None:
    answer = await post(running, metadata={"deep": json.loads(nested(240))})
    assert (await stored(running, answer.json()["id"]))["status"] == "complete"


async def test_an_answer_that_was_refused_is_stored_as_failed(running: RunningApp) -> None:
    answer = await post(running, temperature=7)
    row = await stored(running, answer.headers["x-pawl-interaction"])
    assert (row["status"], row["error"]) == ("failed", "http_400")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_dead_engine_is_a_503_and_a_failed_row(running: RunningApp, stream: bool) -> None:
    running.engine.die()
    answer = await post(running, stream=stream)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert (await running.anyone.get("/health/ready")).status_code == 503
    assert (await running.anyone.get("/health/live")).status_code == 200


async def test_an_engine_that_dies_meanwhile_ends_the_stream_with_an_error(
    running: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace, tokens = FakeEngine._pace, count()

    async def die_at_the_fourth(engine: FakeEngine) -> None:
        if next(tokens) == 3:
            engine.die()
        await pace(engine)

    monkeypatch.setattr(FakeEngine, "_pace", die_at_the_fourth)
    answer = await post(running, stream=True)
    error, end = events(answer.text)[-2:]
    assert (error["error"]["type"], end) == ("service_unavailable_error", "[DONE]")
    assert (await stored(running, answer.headers["x-pawl-interaction"]))["status"] == "failed"


async def test_an_unexpected_fault_says_nothing_of_itself(
    running: RunningApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def answer(_engine: object, _call: EngineCall) -> EngineResponse:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(type(running.engine), "answer", answer)
    response = await post(running, messages=[{"role": "user", "content": SECRET}])
    assert response.status_code == 500
    assert SECRET not in response.text
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err


async def test_no_text_of_a_chat_stands_in_metrics(running: RunningApp) -> None:
    await post(running, user=SECRET, messages=[{"role": "user", "content": SECRET}])
    assert SECRET not in (await running.anyone.get("/metrics")).text


async def test_another_path_or_method_says_so(running: RunningApp) -> None:
    async with client_of(running.app) as client:
        assert (await client.get(CHAT)).status_code == 405
        assert (await client.get(CHAT)).headers["allow"] == "POST"
        assert (await client.post("/v1/embeddings", json={})).status_code == 404


async def test_a_limit_beyond_the_engines_is_told_at_the_start(tmp_path: Path) -> None:
    limits = {"choices": 5000, "top_logprobs": 20}
    with capture_logs() as logs:
        async with running_app(tmp_path, server={"limits": limits}):
            pass
    (line,) = (one for one in logs if one["event"] == "limit_above_the_engines")
    assert (line["setting"], line["wanted"], line["engine"]) == (
        "server.limits.choices",
        5000,
        1024,
    )


HALF = "a\ud83d"
WITH_HALF = [
    (
        CHAT,
        chat_body(messages=[QUESTION, {"role": "user", "content": HALF}]),
        "messages[1].content",
    ),
    (CHAT, chat_body(messages=[{**QUESTION, HALF: 1}]), "messages[0]"),
    (CHAT, chat_body(user=HALF), "user"),
    (CHAT, chat_body(metadata={SECRET: HALF}), "metadata"),
    (CHAT, chat_body(metadata={HALF: SECRET}), "metadata"),
    (CHAT, {**chat_body(), HALF: SECRET}, None),
    ("/v1/completions", {"model": "pawl", "prompt": HALF}, "prompt"),
    ("/v1/comparisons", chat_body(stop=["a", HALF]), "stop[1]"),
    ("/v1/feedback", {"metric_name": "comment", "value": HALF}, "value"),
    ("/v1/feedback", {"tags": {HALF: "a"}}, "tags"),
    ("/v1/feedback-tokens", {"inference_id": "x", "rater": HALF}, "rater"),
    ("/v1/interactions", {"choices": [{"text": HALF}]}, "choices[0].text"),
    ("/v1/interactions/batch", {"interactions": [{"user": HALF}]}, "interactions[0].user"),
    ("/v1/rollback", {"reason": HALF}, "reason"),
]


@pytest.mark.parametrize(("path", "body", "param"), WITH_HALF)
async def test_half_a_character_is_told_by_its_place(
    running: RunningApp, path: str, body: dict[str, Any], param: str | None
) -> None:
    answer = await running.anyone.post(path, content=json.dumps(body).encode(), headers=JSON)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert "half of a surrogate pair" in error["message"]
    assert SECRET not in answer.text


TOOL = {"type": "function", "function": {"name": "price", "parameters": {"type": "object"}}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 2])
async def test_the_log_has_the_calls_of_every_choice(
    running: RunningApp, stream: bool, n: int
) -> None:
    answer = await post(running, tools=[TOOL], tool_choice="required", stream=stream, n=n)
    row = await stored(running, answer.headers["x-pawl-interaction"])
    assert len(row["choices"]) == n
    for choice in row["choices"]:
        (call,) = choice["message"]["tool_calls"]
        assert call["function"] == {"name": "price", "arguments": "{}"}


@pytest.mark.parametrize("stream", [False, True])
async def test_the_log_has_no_message_where_the_text_says_it_all(
    running: RunningApp, stream: bool
) -> None:
    answer = await post(running, tools=[TOOL], stream=stream)
    row = await stored(running, answer.headers["x-pawl-interaction"])
    assert [choice["message"] for choice in row["choices"]] == [None]
