"""Changes of a whole route, and changes that meet each other."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from adapters.errors import (
    RouteChangeError,
    TransitionError,
    UnknownVersionError,
)
from adapters.schemas import RouteIn
from tests.adapters.world import WHO, HeldLoads, World

pytestmark = pytest.mark.anyio


async def test_the_route_can_be_replaced_as_a_whole(world: World) -> None:
    live, canary, shadow = [await world.add() for _ in range(3)]
    wanted = RouteIn(
        live=live.name,
        canary=canary.name,
        canary_share=0.1,
        shadow=shadow.name,
        shadow_share=0.5,
    )
    view = await world.registry.set_route("pawl", wanted, **WHO)
    assert (view.live, view.canary, view.shadow, view.epoch) == (
        live.name,
        canary.name,
        shadow.name,
        1,
    )
    assert world.host.resident() == {live.name, canary.name, shadow.name}
    states = [await world.state(row.name) for row in (live, canary, shadow)]
    assert states == ["live", "canary", "shadow"]


async def test_the_route_as_it_is_counts_as_no_change(world: World) -> None:
    view = await world.registry.set_route("pawl", RouteIn(live="base"), **WHO)
    assert view.epoch == 0


async def test_a_canary_taken_out_is_rolled_back(world: World) -> None:
    canary = await world.add()
    wanted = RouteIn(canary=canary.name, canary_share=0.1)
    await world.registry.set_route("pawl", wanted, **WHO)
    await world.registry.set_route("pawl", RouteIn(), **WHO)
    assert await world.state(canary.name) == "rolled_back"


async def test_a_shadow_taken_out_is_a_candidate_again(world: World) -> None:
    shadow = await world.add()
    await world.registry.set_route("pawl", RouteIn(shadow=shadow.name, shadow_share=1), **WHO)
    await world.registry.set_route("pawl", RouteIn(), **WHO)
    assert await world.state(shadow.name) == "candidate"


async def test_the_base_model_can_be_made_live_and_undone(world: World) -> None:
    live = await world.promoted()
    await world.registry.set_route("pawl", RouteIn(live="base"), **WHO)
    assert world.registry.resolve("pawl").version == "base"
    assert (await world.registry.rollback("pawl", **WHO)).version == live


async def test_live_cannot_be_the_canary_too(world: World) -> None:
    live = await world.promoted()
    with pytest.raises(RouteChangeError):
        await world.registry.set_route("pawl", RouteIn(canary=live, canary_share=0.1), **WHO)


async def test_a_route_names_versions_of_its_channel_only(world: World) -> None:
    await world.registry.ensure_channel("shop", "default")
    foreign = await world.add("shop")
    with pytest.raises(UnknownVersionError):
        await world.registry.set_route("pawl", RouteIn(live=foreign.name), **WHO)


async def test_promotions_at_once_happen_one_after_the_other(world: World) -> None:
    versions = [await world.add() for _ in range(3)]
    swaps = await asyncio.gather(
        *(world.registry.promote(version.name, **WHO) for version in versions)
    )
    ordered = sorted(swaps, key=lambda swap: swap.epoch)
    assert [swap.epoch for swap in ordered] == [1, 2, 3]
    assert [swap.previous for swap in ordered[1:]] == [swap.version for swap in ordered[:2]]
    states = [await world.state(swap.version) for swap in ordered]
    assert states == ["retired", "standby", "live"]


async def test_a_promotion_whose_caller_leaves_is_finished(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = await world.add()
    held = HeldLoads(world, monkeypatch)
    task = asyncio.create_task(world.registry.promote(version.name, **WHO))
    await held.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    held.go_on.set()
    await world.registry.close()
    assert world.registry.resolve("pawl").version == version.name
    assert await world.state(version.name) == "live"


@pytest.mark.parametrize("channel", ["pawl", "shop"])
@pytest.mark.parametrize("change", ["load", "promote", "set_route"])
async def test_a_rollback_waits_for_no_load(
    world: World, monkeypatch: pytest.MonkeyPatch, channel: str, change: str
) -> None:
    await world.registry.ensure_channel("shop", "default")
    first = await world.promoted()
    await world.promoted()
    version = (await world.add(channel)).name
    changes: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "load": lambda: world.registry.load(version),
        "promote": lambda: world.registry.promote(version, **WHO),
        "set_route": lambda: world.registry.set_route(channel, RouteIn(live=version), **WHO),
    }
    held = HeldLoads(world, monkeypatch)
    task = asyncio.create_task(changes[change]())
    await held.begun.wait()
    async with asyncio.timeout(10):
        swap = await world.registry.rollback("pawl", **WHO)
    assert swap.version == first
    assert world.registry.resolve("pawl").version == first
    held.go_on.set()
    await task
    assert version in world.host.resident()


async def test_a_version_rejected_while_it_is_loaded_is_let_go(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = (await world.add()).name
    held = HeldLoads(world, monkeypatch)
    task = asyncio.create_task(world.registry.promote(version, **WHO))
    await held.begun.wait()
    await world.registry.reject(version, **WHO)
    held.go_on.set()
    with pytest.raises(TransitionError, match="is rejected and cannot become live"):
        await task
    await world.settled()
    assert world.host.resident() == frozenset()
    assert world.registry.resolve("pawl").version == "base"


async def test_a_new_live_in_the_route_counts_as_a_swap(world: World) -> None:
    version = await world.add()
    await world.registry.set_route("pawl", RouteIn(live=version.name), **WHO)
    assert [channel for channel, _ in world.observer.swaps] == ["pawl"]
