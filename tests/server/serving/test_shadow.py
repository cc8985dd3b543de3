"""The shadow answers into the log only, when there is capacity, and never affects a client."""

import asyncio
from pathlib import Path

import pytest

from server.engine.base import EngineCall, EngineResponse
from server.engine.fake.answer import sentinel
from tests.server.api.test_chat import CHAT
from tests.server.metrics.test_metrics import shown, value
from tests.server.running_app import RunningApp, chat_body
from tests.server.serving.test_last_byte import database_of, rows
from tests.server.shadowing import (
    add_version,
    set_route,
    settled,
    shadows,
    texts,
)
from tests.waiting import until

pytestmark = pytest.mark.anyio

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


async def test_the_shadow_answers_into_a_row_of_its_own(shadowed: tuple[RunningApp, str]) -> None:
    running, version = shadowed
    live = await running.anyone.post(CHAT, json=chat_body(user="ada", temperature=0.5))
    assert await settled(running, 1) == {"answered": 1}
    (row,) = shadows(running)
    wanted = {
        "parent": live.json()["id"],
        "version": version,
        "model": f"pawl@{version}",
        "requested_model": "pawl",
        "user": "ada",
        "tenant": "default",
        "trial": None,
        "status": "complete",
        "endpoint": "chat",
        "request": chat_body(user="ada", temperature=0.5),
    }
    assert {name: row[name] for name in wanted} == wanted
    assert row["id"] != row["parent"]
    assert texts(running, row["id"])[0].startswith(sentinel(version))


async def test_the_shadow_shares_its_parents_conversation_and_thread(
    shadowed: tuple[RunningApp, str],
) -> None:
    running, _ = shadowed
    await running.anyone.post(CHAT, json=chat_body())
    await settled(running, 1)
    query = "SELECT conversation, thread, key_id, base_fingerprint FROM interaction"
    live, shadow = rows(database_of(running), query)
    assert live == shadow


async def test_a_stream_is_shadowed_without_streaming(shadowed: tuple[RunningApp, str]) -> None:
    running, version = shadowed
    options = {"include_usage": True}
    live = await running.anyone.post(CHAT, json=chat_body(stream=True, stream_options=options))
    assert await settled(running, 1) == {"answered": 1}
    (row,) = shadows(running)
    assert row["request"] == chat_body()
    assert sentinel(version) not in live.text
    assert texts(running, row["id"])[0].startswith(sentinel(version))


@pytest.mark.parametrize("stream", [False, True])
async def test_every_one_of_n_choices_is_shadowed(
    shadowed: tuple[RunningApp, str], stream: bool
) -> None:
    running, version = shadowed
    await running.anyone.post(CHAT, json=chat_body(n=3, stream=stream))
    assert await settled(running, 1) == {"answered": 1}
    (row,) = shadows(running)
    said = texts(running, row["id"])
    assert [text.startswith(sentinel(version)) for text in said] == [True] * 3


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_are_shadowed(shadowed: tuple[RunningApp, str], stream: bool) -> None:
    running, _ = shadowed
    body = chat_body(tools=[TOOL], tool_choice="required")
    await running.anyone.post(CHAT, json={**body, "stream": stream})
    assert await settled(running, 1) == {"answered": 1}
    (row,) = shadows(running)
    assert row["request"]["tools"] == [TOOL]
    assert "look_up" in texts(running, row["id"])[0]


async def test_a_completion_is_shadowed_as_a_completion(shadowed: tuple[RunningApp, str]) -> None:
    running, _ = shadowed
    await running.anyone.post("/v1/completions", json={"model": "pawl", "prompt": "So"})
    assert await settled(running, 1) == {"answered": 1}
    (row,) = shadows(running)
    assert row["endpoint"] == "completion"
    assert row["id"].startswith("cmpl-")


async def test_the_shadow_goes_last_in_the_engine(
    shadowed: tuple[RunningApp, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, version = shadowed
    calls: list[tuple[str, int]] = []
    answer = running.engine.answer

    async def noted(call: EngineCall) -> EngineResponse:
        calls.append((call.version, call.priority))
        return await answer(call)

    monkeypatch.setattr(running.engine, "answer", noted)
    for purpose in ("evaluation", "counterpart"):
        await running.operator.post(CHAT, json=chat_body(), headers={"x-pawl-purpose": purpose})
    await running.anyone.post(CHAT, json=chat_body())
    await settled(running, 1)
    assert calls == [("base", 1), ("base", 2), ("base", 0), (version, 2)]


async def test_an_answer_by_name_is_not_shadowed(shadowed: tuple[RunningApp, str]) -> None:
    running, version = shadowed
    for model in ("pawl@base", "pawl@live", f"pawl@{version}"):
        await running.anyone.post(CHAT, json=chat_body(model=model))
    assert await settled(running, 0) == {}


@pytest.mark.parametrize("purpose", ["evaluation", "counterpart"])
async def test_our_own_requests_are_not_shadowed(
    shadowed: tuple[RunningApp, str], purpose: str
) -> None:
    running, _ = shadowed
    await running.operator.post(CHAT, json=chat_body(), headers={"x-pawl-purpose": purpose})
    assert await settled(running, 0) == {}


async def test_what_was_refused_is_not_shadowed(shadowed: tuple[RunningApp, str]) -> None:
    running, _ = shadowed
    refused = await running.anyone.post(CHAT, json=chat_body(temperature=9))
    assert refused.status_code == 400
    assert await settled(running, 0) == {}


async def test_another_channel_is_not_shadowed(shadowed: tuple[RunningApp, str]) -> None:
    running, _ = shadowed
    await running.anyone.post(CHAT, json=chat_body(model="common"))
    assert await settled(running, 0) == {}


async def test_what_the_canary_answers_is_not_shadowed(
    shadowed: tuple[RunningApp, str], tmp_path: Path
) -> None:
    """Its users compare it; only the other arm, live, is answered again."""
    running, version = shadowed
    canary = await add_version(running, tmp_path, seed=1)
    await set_route(running, canary=canary, canary_share=0.5, shadow=version, shadow_share=1.0)
    roles = []
    for number in range(20):
        answer = await running.anyone.post(CHAT, json=chat_body(user=f"user {number}"))
        roles.append(answer.headers["x-pawl-role"])
    assert set(roles) == {"live", "canary"}
    assert (await settled(running, roles.count("live")))["answered"] == roles.count("live")
    assert all(row["trial"] is None for row in shadows(running))


async def test_an_answer_that_the_client_left_is_not_shadowed(
    shadowed: tuple[RunningApp, str],
) -> None:
    running, _ = shadowed
    running.engine.hang()
    asked = asyncio.create_task(running.anyone.post(CHAT, json=chat_body()))
    await until(lambda: running.engine.in_flight("base") == 1)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    running.engine.resume()
    await until(lambda: running.engine.in_flight("base") == 0)
    assert await settled(running, 0) == {}


async def test_live_does_not_notice_a_shadow_that_fails(
    shadowed: tuple[RunningApp, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, version = shadowed
    answer = running.engine.answer

    async def failing(call: EngineCall) -> EngineResponse:
        if call.version == version:
            raise RuntimeError("the shadow's own failure")
        return await answer(call)

    monkeypatch.setattr(running.engine, "answer", failing)
    for _ in range(5):
        assert (await running.anyone.post(CHAT, json=chat_body())).status_code == 200
    assert await settled(running, 5) == {"failed": 5}
    query = "SELECT status, error FROM interaction WHERE mode = 'shadow'"
    assert set(rows(database_of(running), query)) == {("failed", "RuntimeError")}


async def test_a_full_engine_is_not_the_shadows_failure(
    shadowed: tuple[RunningApp, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, version = shadowed
    answer = running.engine.answer

    async def full(call: EngineCall) -> EngineResponse:
        return EngineResponse(503, "{}") if call.version == version else await answer(call)

    monkeypatch.setattr(running.engine, "answer", full)
    await running.anyone.post(CHAT, json=chat_body())
    assert await settled(running, 1) == {"refused": 1}
    (row,) = shadows(running)
    assert row["status"] == "aborted"


async def test_a_shadow_holds_a_version_no_longer_than_its_answer(
    shadowed: tuple[RunningApp, str],
) -> None:
    running, version = shadowed
    await running.anyone.post(CHAT, json=chat_body())
    await settled(running, 1)
    assert running.engine.in_flight(version) == 0


async def test_the_metric_stands_at_zero_from_the_start(running: RunningApp) -> None:
    found = await shown(running)
    assert value(found, "pawl_shadow_total", channel="pawl", outcome="answered") == 0
