"""A rollback whose standby has to be loaded first: seconds, then the base model answers."""

import asyncio
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from adapters import route_changes
from tests.adapters.world import WHO, HeldLoads, World

pytestmark = pytest.mark.anyio


@pytest.fixture
async def lost(world: World) -> str:
    """Standby, which the engine holds no more."""
    standby = await world.promoted()
    await world.promoted()
    await world.host.unload(standby)
    return standby


@pytest.fixture
def held(world: World, lost: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldLoads]:
    """The engine's loads, none of which ends before a rollback has waited long enough."""
    del lost
    monkeypatch.setattr(route_changes, "STANDBY_SECONDS", 0.01)
    loads = HeldLoads(world, monkeypatch)
    yield loads
    loads.go_on.set()


async def test_a_standby_that_is_loaded_in_time_is_live_again(world: World, lost: str) -> None:
    assert (await world.registry.rollback("pawl", **WHO)).version == lost


async def test_a_rollback_does_not_wait_for_a_standby_that_loads_slowly(
    world: World, lost: str, held: HeldLoads
) -> None:
    with capture_logs() as logs:
        async with asyncio.timeout(10):
            assert (await world.registry.rollback("pawl", **WHO)).version == "base"
    assert world.observer.fallbacks == [("pawl", lost, "base")]
    (line,) = [line for line in logs if line["event"] == "rollback_to_base"]
    assert (line["version"], line["error"]) == (lost, "TimeoutError")


async def test_a_rollback_does_not_wait_for_the_load_of_another_version(
    world: World, held: HeldLoads
) -> None:
    other = (await world.add()).name
    loading = asyncio.create_task(world.registry.load(other))
    await held.begun.wait()
    async with asyncio.timeout(10):
        assert (await world.registry.rollback("pawl", **WHO)).version == "base"
    held.go_on.set()
    await loading


async def test_a_load_that_nobody_waits_for_is_let_end_and_the_version_let_go(
    world: World, lost: str, held: HeldLoads
) -> None:
    async with asyncio.timeout(10):
        await world.registry.rollback("pawl", **WHO)
        held.go_on.set()
        await asyncio.gather(*world.registry._changes._late)
    assert world.host.loaded.count(lost) == 2
    await world.settled()
    assert lost not in world.host.resident()


async def test_a_late_load_that_fails_is_told(world: World, lost: str, held: HeldLoads) -> None:
    world.host.refused.add(lost)
    with capture_logs() as logs:
        async with asyncio.timeout(10):
            await world.registry.rollback("pawl", **WHO)
            held.go_on.set()
            await asyncio.gather(*world.registry._changes._late, return_exceptions=True)
    assert [line["error"] for line in logs if line["event"] == "late_load_failed"] == [
        "AdapterRefusedError"
    ]


async def test_an_end_does_not_wait_for_a_late_load(world: World, held: HeldLoads) -> None:
    async with asyncio.timeout(10):
        await world.registry.rollback("pawl", **WHO)
        await held.begun.wait()
        await world.registry.close()
    assert not held.go_on.is_set()


async def test_a_rollback_does_not_wait_for_a_change_that_loads_what_the_route_has(
    world: World, lost: str, held: HeldLoads
) -> None:
    held.go_on.set()
    await world.registry.load(lost)
    shadow = (await world.add()).name
    await world.registry.load(shadow)
    await world.host.unload(world.registry.routes()["pawl"].live)
    held.begun.clear()
    held.go_on.clear()
    change = asyncio.create_task(world.registry.set_shadow(shadow, 0.5, **WHO))
    await held.begun.wait()
    async with asyncio.timeout(10):
        assert (await world.registry.rollback("pawl", **WHO)).version == lost
    held.go_on.set()
    assert (await change).shadow == shadow
