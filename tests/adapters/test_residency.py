"""Loading and unloading when the engine does not play along."""

import asyncio
from pathlib import Path

import pytest

from adapters.errors import AdapterRefusedError
from tests.adapters.world import WHO, HeldLoads, World

pytestmark = pytest.mark.anyio


async def fail(version: str) -> None:
    raise RuntimeError("engine")


async def test_a_load_that_hangs_is_given_up(
    unstarted: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    unstarted.config = unstarted.config.model_copy(update={"load_timeout_seconds": 0.01})
    unstarted.make()
    await unstarted.registry.start()
    version = await unstarted.add()

    async def hang(version: str, path: Path) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(unstarted.host, "load", hang)
    with pytest.raises(AdapterRefusedError, match="TimeoutError"):
        await unstarted.registry.promote(version.name, **WHO)
    assert unstarted.registry.resolve("pawl").version == "base"


async def test_an_unload_that_fails_leaves_the_version_and_the_rollback_stands(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = await world.promoted()
    monkeypatch.setattr(world.host, "unload", fail)
    await world.registry.rollback("pawl", **WHO)
    await world.settled()
    assert world.registry.resolve("pawl").version == "base"
    assert version in world.host.resident()
    assert world.observer.drains == []


async def test_a_version_is_loaded_once_for_several_that_ask(world: World) -> None:
    version = await world.add()
    await asyncio.gather(*(world.registry.load(version.name) for _ in range(5)))
    assert world.host.loaded == [version.name]


async def test_loads_of_channels_never_take_more_slots_than_there_are(world: World) -> None:
    await world.restart(slots=2)
    channels = ["pawl", "shop", "desk"]
    for channel in channels:
        await world.registry.ensure_channel(channel, "default")
    versions = [await world.add(channel) for channel in channels]
    results = await asyncio.gather(
        *(world.registry.load(version.name) for version in versions), return_exceptions=True
    )
    assert len(world.host.resident()) == 2
    assert sum(result is not None for result in results) == 1


async def test_a_request_during_the_drain_puts_the_unload_off(world: World) -> None:
    version = await world.promoted()
    await world.registry.rollback("pawl", **WHO)
    world.host.flying[version] = 1
    for _ in range(20):
        await asyncio.sleep(0)
    assert version in world.host.resident()
    world.host.flying[version] = 0
    await world.settled()
    assert world.observer.drains == [(version, True)]


async def test_routes_can_be_read_beside_no_engine(world: World) -> None:
    version = await world.promoted()
    await world.registry.close()
    world.make()
    await world.registry.read_routes()
    assert world.registry.routes()["pawl"].live == version
    assert world.host.loaded == []


async def test_undo_goes_to_the_base_model_when_no_slot_can_be_freed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.restart(slots=2)
    first = await world.promoted()
    await world.promoted()
    await world.host.unload(first)
    stuck = await world.add()
    await world.registry.load(stuck.name)
    monkeypatch.setattr(world.host, "unload", fail)
    await world.registry.reject(stuck.name, **WHO)
    assert (await world.registry.rollback("pawl", **WHO)).version == "base"


async def test_a_load_that_waited_lets_go_of_what_ended_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.restart(slots=2)
    await world.registry.ensure_channel("shop", "default")
    ended, loaded, waiting = await world.add(), await world.add(), await world.add("shop")
    await world.registry.load(ended.name)
    world.host.flying[ended.name] = 1
    held = HeldLoads(world, monkeypatch)
    first = asyncio.create_task(world.registry.load(loaded.name))
    await held.begun.wait()
    second = asyncio.create_task(world.registry.load(waiting.name))
    await world.settled()
    await world.registry.reject(ended.name, **WHO)
    held.go_on.set()
    await first
    await second
    assert world.host.resident() == {loaded.name, waiting.name}


async def test_a_load_that_waits_for_its_drain_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    drained, other = await world.add(), await world.add()
    await world.registry.load(drained.name)
    begun, go_on = asyncio.Event(), asyncio.Event()
    unload = world.host.unload

    async def held(version: str) -> None:
        begun.set()
        await go_on.wait()
        await unload(version)

    monkeypatch.setattr(world.host, "unload", held)
    world.registry._residency.drain_later(drained.name)
    await begun.wait()
    waiting = asyncio.create_task(world.registry.load(drained.name))
    await world.settled()
    try:
        async with asyncio.timeout(10):
            await world.registry.load(other.name)
    finally:
        go_on.set()
    await waiting
    assert world.host.resident() == {drained.name, other.name}
