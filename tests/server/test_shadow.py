"""The shadow: answers into the log only, when there is room, and nobody notices (law 4)."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.callback import FeedbackCallback
from feedback.ids import InteractionIds
from server.auth import OPEN
from server.config import ShadowConfig
from server.drain import Drain
from server.engine.base import EngineCall, EngineResponse
from server.engine.fake_answer import sentinel
from server.exchange import Exchange, new_record
from server.shadow import Shadow, sampled, shadow_body
from tests.adapters.adapter_files import make_adapter
from tests.server.running_app import RunningApp, chat_body, running_app
from tests.server.test_chat import CHAT
from tests.server.test_last_byte import database_of, rows, until
from tests.server.test_metrics import shown, value

pytestmark = pytest.mark.anyio

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
FIELDS = (
    *("id", "parent", "role", "version", "model", "requested_model", "user", "tenant", "trial"),
    *("status", "request", "endpoint"),
)


async def add_version(running: RunningApp, folder: Path, seed: int = 0) -> str:
    """A candidate, resident."""
    adapter = str(make_adapter(folder / f"adapter-{seed}", seed))
    added = await running.operator.post("/v1/adapters", json={"path": adapter})
    version: str = added.json()["name"]
    return version


async def set_route(running: RunningApp, **fields: Any) -> None:
    wanted = {"reason": "a test", **fields}
    changed = await running.operator.put("/v1/route", json=wanted)
    assert changed.status_code == 200


async def with_shadow(running: RunningApp, folder: Path, share: float = 1.0) -> str:
    """A version that is the shadow of `pawl`."""
    version = await add_version(running, folder)
    await set_route(running, shadow=version, shadow_share=share)
    return version


@pytest.fixture
async def shadowed(anyio_backend: object, tmp_path: Path) -> AsyncIterator[tuple[RunningApp, str]]:
    """An app whose every live answer is to be shadowed, and the shadow."""
    del anyio_backend
    async with running_app(tmp_path / "data", **WITH_ROOM) as running:
        yield running, await with_shadow(running, tmp_path)


WITH_ROOM: dict[str, Any] = {"server": {"shadow": {"busy_streams": 100}}}


async def counted(running: RunningApp) -> dict[str, int]:
    """What became of what was drawn for the shadow, without zeros."""
    metric = running.services.metrics.shadow.outcomes
    samples = next(iter(metric.collect())).samples
    found = {
        sample.labels["outcome"]: int(sample.value)
        for sample in samples
        if sample.labels["channel"] == "pawl" and sample.name.endswith("_total")
    }
    return {outcome: count for outcome, count in found.items() if count}


async def settled(running: RunningApp, total: int) -> dict[str, int]:
    """Wait until so many have come to an end and are in the log."""
    while sum((await counted(running)).values()) < total:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await until(lambda: not running.services.recorder.depth)
    return await counted(running)


def shadows(running: RunningApp) -> list[dict[str, Any]]:
    """The shadow's rows."""
    columns = ", ".join(f'"{name}"' for name in FIELDS)
    query = f"SELECT {columns} FROM interaction WHERE mode = 'shadow' ORDER BY received_at, id"  # noqa: S608  (names of ours)
    found = rows(database_of(running), query)
    made = [dict(zip(FIELDS, row, strict=True)) for row in found]
    return [{**row, "request": json.loads(row["request"])} for row in made]


def texts(running: RunningApp, identifier: str) -> list[str]:
    query = 'SELECT text FROM choice WHERE interaction_id = ? ORDER BY "index"'
    return [row[0] for row in rows(database_of(running), query, identifier)]


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
    query = "SELECT DISTINCT conversation, thread, key_id, base_fingerprint FROM interaction"
    assert len(rows(database_of(running), query)) == 1


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
    evaluation = {"x-pawl-purpose": "evaluation"}
    await running.operator.post(CHAT, json=chat_body(), headers=evaluation)
    await running.anyone.post(CHAT, json=chat_body())
    await settled(running, 1)
    assert calls == [("base", 1), ("base", 0), (version, 2)]


async def test_an_answer_by_name_is_not_shadowed(shadowed: tuple[RunningApp, str]) -> None:
    running, version = shadowed
    for model in ("pawl@base", "pawl@live", f"pawl@{version}"):
        await running.anyone.post(CHAT, json=chat_body(model=model))
    assert await settled(running, 0) == {}


async def test_evaluations_are_not_shadowed(shadowed: tuple[RunningApp, str]) -> None:
    running, _ = shadowed
    evaluation = {"x-pawl-purpose": "evaluation"}
    await running.operator.post(CHAT, json=chat_body(), headers=evaluation)
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


async def test_a_share_of_none_is_none(tmp_path: Path) -> None:
    async with running_app(tmp_path / "data", **WITH_ROOM) as running:
        await with_shadow(running, tmp_path, share=0.0)
        for _ in range(20):
            await running.anyone.post(CHAT, json=chat_body())
        assert await settled(running, 0) == {}


async def test_a_share_is_drawn_by_the_interactions_id(tmp_path: Path) -> None:
    async with running_app(tmp_path / "data", **WITH_ROOM) as running:
        await with_shadow(running, tmp_path, share=0.4)
        asked = [await running.anyone.post(CHAT, json=chat_body()) for _ in range(40)]
        drawn = {one.json()["id"] for one in asked if sampled(one.json()["id"], 0.4)}
        await settled(running, len(drawn))
        assert {row["parent"] for row in shadows(running)} == drawn


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_holds_what_a_smaller_one_held(name: str, one: float, two: float) -> None:
    assert sampled(name, max(one, two)) or not sampled(name, min(one, two))


@given(st.text())
def test_a_share_of_one_is_everything_and_of_none_nothing(name: str) -> None:
    assert sampled(name, 1.0)
    assert not sampled(name, 0.0)


def test_about_the_share_is_drawn() -> None:
    drawn = sum(sampled(f"chatcmpl-{number}", 0.3) for number in range(10_000))
    assert 2_700 < drawn < 3_300


@given(st.dictionaries(st.sampled_from(["stream", "stream_options", "n", "stop"]), st.booleans()))
def test_only_streaming_is_left_out(body: dict[str, Any]) -> None:
    kept = {name: said for name, said in body.items() if not name.startswith("stream")}
    assert shadow_body(body) == kept


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


async def test_live_does_not_wait_for_a_slow_shadow(
    shadowed: tuple[RunningApp, str], hung: "HungShadow"
) -> None:
    running, _ = shadowed
    for _ in range(5):
        assert (await running.anyone.post(CHAT, json=chat_body())).status_code == 200
    assert await counted(running) == {}
    hung.resume.set()
    assert await settled(running, 5) == {"answered": 5}


class HungShadow:
    """Shadow answers wait for `resume`; `begun` says how many have begun."""

    def __init__(self) -> None:
        self.resume = asyncio.Event()
        self.begun = 0


@pytest.fixture
def hung(shadowed: tuple[RunningApp, str], monkeypatch: pytest.MonkeyPatch) -> HungShadow:
    return hang_shadow(*shadowed, monkeypatch)


def hang_shadow(running: RunningApp, version: str, patch: pytest.MonkeyPatch) -> HungShadow:
    state, answer = HungShadow(), running.engine.answer

    async def hanging(call: EngineCall) -> EngineResponse:
        if call.version == version:
            state.begun += 1
            await state.resume.wait()
        return await answer(call)

    patch.setattr(running.engine, "answer", hanging)
    return state


async def test_a_full_queue_drops_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"server": {"shadow": {"queue_max": 2, "busy_streams": 100}}}
    async with running_app(tmp_path / "data", **settings) as running:
        hung = hang_shadow(running, await with_shadow(running, tmp_path), monkeypatch)
        for _ in range(6):
            await running.anyone.post(CHAT, json=chat_body())
        assert (hung.begun, await counted(running)) == (1, {"full": 3})
        hung.resume.set()
        assert await settled(running, 6) == {"full": 3, "answered": 3}


class HandClock:
    """A monotonic clock that stands still until it is moved; seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def shadow_beside(running: RunningApp, clock: HandClock, **settings: Any) -> Shadow:
    """A shadow of the test's own, on the parts of a running app."""
    here = running.services
    return Shadow(
        engine=here.engine,
        registry=here.registry,
        ids=InteractionIds(b"0123456789abcdef"),
        callback=FeedbackCallback(record=here.recorder.record),
        clock=here.clock,
        metrics=here.metrics.serving,
        outcomes=here.metrics.shadow,
        config=ShadowConfig(**settings),
        draining=lambda: False,
        monotonic=clock,
    )


def answered(running: RunningApp, number: int) -> Exchange:
    """A live request that was answered in full."""
    body = chat_body()
    resolved = running.services.registry.resolve("pawl")
    record = new_record(
        f"chatcmpl-{number}",
        received_at=running.services.clock(),
        endpoint="chat",
        body=body,
        principal=OPEN,
        resolved=resolved,
        base_fingerprint="",
        thread="thread",
        mode="live",
    )
    record.status = "complete"
    return Exchange(record, "chat", body, resolved)


async def test_what_waited_too_long_is_dropped_and_counted(tmp_path: Path) -> None:
    async with running_app(tmp_path / "data") as running:
        await with_shadow(running, tmp_path)
        clock = HandClock()
        shadow = shadow_beside(running, clock, busy_streams=1, ttl_seconds=10, quiet_seconds=0)
        shadow.began()
        shadow.offer(answered(running, 1))
        clock.now += 6
        shadow.offer(answered(running, 2))
        clock.now += 6
        shadow.ended()
        assert await settled(running, 2) == {"expired": 1, "answered": 1}
        await shadow.close()


async def test_it_waits_while_users_are_being_answered(tmp_path: Path) -> None:
    async with running_app(tmp_path / "data") as running:
        await with_shadow(running, tmp_path)
        shadow = shadow_beside(running, HandClock(), busy_streams=2, quiet_seconds=0)
        shadow.began()
        shadow.began()
        shadow.offer(answered(running, 1))
        await asyncio.sleep(0)
        assert await counted(running) == {}
        shadow.ended()
        assert await settled(running, 1) == {"answered": 1}
        await shadow.close()


async def test_a_moment_between_two_waves_of_users_is_no_room(tmp_path: Path) -> None:
    async with running_app(tmp_path / "data") as running:
        await with_shadow(running, tmp_path)
        clock = HandClock()
        shadow = shadow_beside(running, clock, busy_streams=1, quiet_seconds=1e-3)
        shadow.began()
        shadow.ended()
        shadow.offer(answered(running, 1))
        await asyncio.sleep(0)
        assert await counted(running) == {}
        clock.now += 1  # nobody comes any more: it looks again by itself
        assert await settled(running, 1) == {"answered": 1}
        await shadow.close()


async def test_nothing_is_answered_for_a_shadow_that_is_gone(
    shadowed: tuple[RunningApp, str], hung: HungShadow
) -> None:
    running, _ = shadowed
    for _ in range(3):
        await running.anyone.post(CHAT, json=chat_body())
    await set_route(running)
    hung.resume.set()
    assert await settled(running, 3) == {"answered": 1, "gone": 2}


async def test_an_answer_that_takes_too_long_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"server": {"shadow": {"answer_seconds": 0.01, "busy_streams": 100}}}
    async with running_app(tmp_path / "data", **settings) as running:
        version = await with_shadow(running, tmp_path)
        hang_shadow(running, version, monkeypatch)
        await running.anyone.post(CHAT, json=chat_body())
        assert await settled(running, 1) == {"overdue": 1}
        (row,) = shadows(running)
        assert row["status"] == "aborted"
        assert running.engine.in_flight(version) == 0


async def test_a_server_that_never_has_room_never_shadows(tmp_path: Path) -> None:
    settings = {"server": {"shadow": {"busy_streams": 0, "queue_max": 1}}}
    async with running_app(tmp_path / "data", **settings) as running:
        await with_shadow(running, tmp_path)
        for _ in range(3):
            await running.anyone.post(CHAT, json=chat_body())
        assert await counted(running) == {"full": 2}


async def test_a_shutdown_ends_what_runs_and_drops_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_app(tmp_path / "data", **WITH_ROOM) as running:
        version = await with_shadow(running, tmp_path)
        hung = hang_shadow(running, version, monkeypatch)
        for _ in range(3):
            await running.anyone.post(CHAT, json=chat_body())
        await until(lambda: hung.begun == 1)
    assert await counted(running) == {"shutdown": 3}
    assert running.engine.in_flight(version) == 0
    (row,) = shadows(running)
    assert row["status"] == "aborted"


async def test_nothing_begins_once_the_drain_has_begun(
    shadowed: tuple[RunningApp, str], hung: HungShadow
) -> None:
    running, _ = shadowed
    drain: Drain = running.services.drain
    for _ in range(3):
        await running.anyone.post(CHAT, json=chat_body())
    drain.begin()
    hung.resume.set()
    assert await settled(running, 3) == {"answered": 1, "shutdown": 2}


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
