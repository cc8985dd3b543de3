"""Made-up bodies: whatever a client sends, it is never the server that fails."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.running_app import QUESTION, RunningApp, chat_body, running_app

pytestmark = pytest.mark.anyio

quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
CHAT_FIELDS = (
    "messages",
    "n",
    "user",
    "metadata",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "logit_bias",
    "stop_token_ids",
    "stop",
    "tools",
    "tool_choice",
    "response_format",
    "seed",
    "logprobs",
    "top_logprobs",
    "priority",
    "best_of",
    "use_beam_search",
    "chat_template_kwargs",
    "model",
)
FEEDBACK_FIELDS = (
    "inference_id",
    "choice",
    "metric_name",
    "value",
    "rater",
    "source",
    "rationale",
    "tags",
    "id",
)
METRICS = ("thumbs", "rating", "comment", "demonstration", "preference", "ranking")
INTERACTION_FIELDS = (
    "id",
    "run_id",
    "channel",
    "model",
    "messages",
    "prompt",
    "tools",
    "choices",
    "user",
    "tags",
    "parent",
    "status",
    "duration_seconds",
)


def fields(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names) | st.text(max_size=8), JSON, max_size=4)


async def statuses(running: RunningApp, path: str, body: Any) -> int:
    """Send `body` as Python writes it: NaN, surrogates, long numbers and all."""
    answer = await running.anyone.post(
        path,
        content=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    return answer.status_code


@quick
@given(made_up=fields(CHAT_FIELDS))
async def test_chat_never_fails(running: RunningApp, made_up: dict[str, Any]) -> None:
    assert await statuses(running, "/v1/chat/completions", chat_body(**made_up)) < 500


@pytest.fixture(params=[(2, 5), (8, 20), (16, 40)], ids=["lowered", "usual", "raised"])
async def limited(
    anyio_backend: object, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[RunningApp, int, int]]:
    """An app with its limits on choices and on shown log probabilities."""
    choices, top_logprobs = request.param
    limits = {"choices": choices, "top_logprobs": top_logprobs}
    async with running_app(tmp_path, server={"limits": limits}) as running:
        yield running, choices, min(top_logprobs, running.engine.info.limits.top_logprobs)


@quick
@given(n=st.integers(-1, 25))
async def test_choices_are_limited_as_set(limited: tuple[RunningApp, int, int], n: int) -> None:
    running, choices, _ = limited
    answer = await running.anyone.post("/v1/chat/completions", json=chat_body(n=n))
    if 1 <= n <= choices:
        assert len(answer.json()["choices"]) == n
    else:
        told = f"n: must be a whole number from 1 to {choices}."
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, told)


@quick
@given(wanted=st.integers(-1, 45))
async def test_log_probabilities_are_limited_as_set(
    limited: tuple[RunningApp, int, int], wanted: int
) -> None:
    """The fake engine shows none: it refuses, in words of its own, what the limit lets through."""
    running, _, shown = limited
    body = chat_body(logprobs=True, top_logprobs=wanted)
    error = (await running.anyone.post("/v1/chat/completions", json=body)).json()["error"]
    told = f"top_logprobs: must be a whole number from 0 to {shown}."
    assert (error["message"] == told) != (0 <= wanted <= shown)


NESTED = st.integers(1, 5000).map(lambda levels: '{"a":' * levels + "1" + "}" * levels)


@quick
@given(arguments=NESTED | st.text(alphabet='[]{}",:a'), levels=st.integers(1, 240))
async def test_no_nesting_makes_it_fail(running: RunningApp, arguments: str, levels: int) -> None:
    deep = json.loads('{"a":' * levels + "1" + "}" * levels)
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    tool = {"type": "function", "function": {"name": "f", "parameters": deep}}
    for body in (
        chat_body(messages=[QUESTION, {"role": "assistant", "tool_calls": [call]}]),
        chat_body(tools=[tool], tool_choice="none"),
        chat_body(metadata=deep),
        chat_body(chat_template_kwargs=deep),
        chat_body(response_format=deep),
    ):
        assert await statuses(running, "/v1/chat/completions", body) < 500


@quick
@given(message=JSON, made_up=fields(("role", "content", "name", "tool_calls", "tool_call_id")))
async def test_messages_never_make_it_fail(
    running: RunningApp, message: Any, made_up: dict[str, Any]
) -> None:
    messages = [{**QUESTION, **made_up}, message]
    for asked in (messages, messages[:1]):
        body = chat_body(messages=asked)
        assert await statuses(running, "/v1/chat/completions", body) < 500


@quick
@given(made_up=fields(("prompt", "echo", "suffix", *CHAT_FIELDS)))
async def test_completions_never_fail(running: RunningApp, made_up: dict[str, Any]) -> None:
    body = {"model": "pawl", "prompt": "So", **made_up}
    assert await statuses(running, "/v1/completions", body) < 500


@quick
@given(metric=st.sampled_from(METRICS), value=JSON, made_up=fields(FEEDBACK_FIELDS))
async def test_feedback_never_fails(
    running: RunningApp, metric: str, value: Any, made_up: dict[str, Any]
) -> None:
    answer = await running.anyone.post("/v1/chat/completions", json=chat_body())
    body = {
        "inference_id": answer.json()["id"],
        "metric_name": metric,
        "value": value,
        **made_up,
    }
    assert await statuses(running, "/v1/feedback", body) < 500


@quick
@given(made_up=fields(INTERACTION_FIELDS))
async def test_reports_never_fail(running: RunningApp, made_up: dict[str, Any]) -> None:
    body = {"model": "elsewhere", "messages": [QUESTION], "choices": [], **made_up}
    assert await statuses(running, "/v1/interactions", body) < 500


@quick
@given(
    path=st.sampled_from(["/v1/adapters", "/v1/route", "/v1/rollback", "/v1/runs", "/v1/keys"]),
    body=st.dictionaries(
        st.sampled_from(("channel", "path", "reason", "live", "canary", "slot", "role", "tenant"))
        | st.text(max_size=8),
        JSON,
        max_size=4,
    ),
)
async def test_administration_never_fails(
    running: RunningApp, path: str, body: dict[str, Any]
) -> None:
    token = running.services.operator_token
    answer = await running.anyone.request(
        "PUT" if path == "/v1/route" else "POST",
        path,
        content=json.dumps(body).encode(),
        headers={"content-type": "application/json", "authorization": f"Bearer {token}"},
    )
    assert answer.status_code < 500


@quick
@given(body=st.binary(max_size=200))
async def test_no_bytes_make_it_fail(running: RunningApp, body: bytes) -> None:
    for path in ("/v1/chat/completions", "/v1/feedback", "/v1/interactions"):
        answer = await running.anyone.post(
            path, content=body, headers={"content-type": "application/json"}
        )
        assert 400 <= answer.status_code < 500


@quick
@given(name=st.text(min_size=1, max_size=40))
async def test_no_name_in_a_path_makes_it_fail(running: RunningApp, name: str) -> None:
    for path in ("/v1/interactions", "/v1/adapters", "/v1/runs"):
        answer = await running.operator.get(f"{path}/{name.encode().hex()}/events")
        assert answer.status_code < 500
        answer = await running.operator.get("/v1/adapters", params={"channel": name})
        assert answer.status_code < 500
