"""The shadow's bounds: a bounded queue, a time to live, waiting for capacity; all are counted."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pawl_client.callback import FeedbackCallback

from feedback.ids import InteractionIds
from server.auth.keys import OPEN
from server.config import ShadowConfig
from server.serving.drain import Drain
from server.serving.exchange import Exchange, new_record
from server.serving.shadow import Shadow
from tests.server.api.test_chat import CHAT
from tests.server.running_app import RunningApp, chat_body, running_app
from tests.server.shadowing import (
    WITH_ROOM,
    HungShadow,
    counted,
    hang_shadow,
    set_route,
    settled,
    shadows,
    with_shadow,
)
from tests.waiting import until

pytestmark = pytest.mark.anyio


async def test_live_does_not_wait_for_a_slow_shadow(
    shadowed: tuple[RunningApp, str], hung: "HungShadow"
) -> None:
    running, _ = shadowed
    for _ in range(5):
        assert (await running.anyone.post(CHAT, json=chat_body())).status_code == 200
    assert await counted(running) == {}
    hung.resume.set()
    assert await settled(running, 5) == {"answered": 5}


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
