"""What a rollout waits for, and who must not wait with it."""

import asyncio
from typing import Any

import pytest

from adapters.routing.route import RouteView
from retrain.rollout import service as rollout_service
from retrain.rollout.decisions import Phase
from retrain.rollout.service import RolloutService
from tests.retrain.log import CHANNEL, TENANT
from tests.retrain.rollout_stage import NEW, TRIAL, Stage, configured
from tests.retrain.world import Swapped, version_row

pytestmark = pytest.mark.anyio

SIDE, OTHER = "side", "2026-w47-00000c"


class Watch:
    """A clock that stands still but for what is said to take time."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def watch(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Watch:
    clock = Watch()
    monkeypatch.setattr(rollout_service, "_SLOW_SECONDS", 1.0)
    monkeypatch.setattr(rollout_service, "monotonic", clock)
    return clock


async def test_a_canary_whose_move_took_long_is_looked_at_again_at_once(
    stage: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.to_canary()
    widen = stage.registry.set_canary

    async def slow(*args: Any, **more: Any) -> RouteView:
        watch.seconds += 60
        return await widen(*args, **more)

    monkeypatch.setattr(stage.registry, "set_canary", slow)
    await stage.traffic.users(40, stage.house.clock.now, "canary", trial=TRIAL, share=0.05)
    assert await stage.tick(hours=1) == Phase.CANARY
    await stage.vote(0.3, 0.9)
    watch.seconds += 30
    assert await stage.tick(hours=1) == Phase.ROLLED_BACK


async def test_a_log_that_takes_long_to_read_is_left_alone_for_a_while(
    stage: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.to_wide()
    read, reads = RolloutService._verdict, 0

    async def slow(self: RolloutService, *args: Any, **more: Any) -> Any:
        nonlocal reads
        reads += 1
        watch.seconds += 2
        return await read(self, *args, **more)

    monkeypatch.setattr(RolloutService, "_verdict", slow)
    await stage.tick()
    watch.seconds += 30
    await stage.tick()
    assert reads == 1
    watch.seconds += 11
    await stage.tick()
    assert reads == 2


async def test_a_rollback_by_hand_ends_the_watch_while_the_log_is_left_alone(
    stage: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.to_watch()
    read = RolloutService._verdict

    async def slow(self: RolloutService, *args: Any, **more: Any) -> Any:
        watch.seconds += 2
        return await read(self, *args, **more)

    monkeypatch.setattr(RolloutService, "_verdict", slow)
    assert await stage.tick() == Phase.WATCH
    await stage.registry.rollback(CHANNEL, actor="ann", reason="by hand")
    assert await stage.tick() == Phase.ENDED


async def test_a_refusal_waits_for_no_other_channel(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(stage, rollout="direct", approval="manual")
    stage.registry.rows[OTHER] = version_row(OTHER)
    named = frozenset({OTHER})
    stage.registry.more[SIDE] = RouteView(channel=SIDE, tenant=TENANT, versions=named)
    await stage.begin()
    await stage.service.begin(OTHER, SIDE, None, "")
    loading, loaded = asyncio.Event(), asyncio.Event()
    promote = stage.registry.promote

    async def stuck(*args: Any, **more: Any) -> Swapped:
        loading.set()
        await loaded.wait()
        return await promote(*args, **more)

    monkeypatch.setattr(stage.registry, "promote", stuck)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(stage.service.approve(NEW, actor="ann", reason=""))
        await loading.wait()
        refused = await stage.service.refuse(OTHER, actor="ben", reason="no")
        loaded.set()
    assert (refused.phase, await stage.phase()) == (Phase.REFUSED, Phase.WATCH)
