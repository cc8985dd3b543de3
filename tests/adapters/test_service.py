"""The registry: promote, roll back, reject, retire, and what is refused."""

import asyncio
from pathlib import Path

import pytest

from adapters.errors import (
    AdapterRefusedError,
    NoFreeSlotError,
    NothingToRollBackError,
    TransitionError,
    UnknownModelError,
)
from tests.adapters.world import WHO, World

pytestmark = pytest.mark.anyio


async def test_a_new_registry_answers_with_the_base_model(world: World) -> None:
    assert world.registry.resolve("pawl").model_label == "pawl@base"


async def test_an_added_adapter_is_a_candidate_that_is_not_loaded(world: World) -> None:
    version = await world.add()
    assert (version.state, world.host.loaded) == ("candidate", [])


async def test_a_version_is_named_by_slot_and_content(world: World) -> None:
    version = await world.add()
    assert version.name == f"2026-w47-{version.digest[:6]}"


async def test_a_promotion_loads_then_answers(world: World) -> None:
    version = await world.add()
    swap = await world.registry.promote(version.name, **WHO)
    assert (swap.version, swap.previous, swap.epoch) == (version.name, "base", 1)
    assert world.registry.resolve("pawl").version == version.name


async def test_the_swap_is_timed_from_the_load_to_the_route(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = world.host.load

    async def slow(version: str, path: Path) -> None:
        world.clock.seconds += 2.5
        await load(version, path)

    monkeypatch.setattr(world.host, "load", slow)
    version = await world.add()
    swap = await world.registry.promote(version.name, **WHO)
    assert swap.seconds == 2.5
    assert world.observer.swaps == [("pawl", 2.5)]


async def test_the_version_before_stays_as_standby(world: World) -> None:
    first = await world.promoted()
    await world.promoted()
    assert await world.state(first) == "standby"
    assert first in world.host.resident()


async def test_the_third_promotion_retires_the_first_version(world: World) -> None:
    first = await world.promoted()
    await world.promoted()
    await world.promoted()
    await world.settled()
    assert await world.state(first) == "retired"
    assert world.host.unloaded == [first]


async def test_a_rollback_goes_back_without_a_load(world: World) -> None:
    first = await world.promoted()
    second = await world.promoted()
    loads = list(world.host.loaded)
    swap = await world.registry.rollback("pawl", **WHO)
    assert (swap.version, swap.previous) == (first, second)
    assert world.host.loaded == loads
    assert await world.state(second) == "rolled_back"
    assert await world.state(first) == "live"


async def test_a_rollback_of_the_first_version_goes_to_the_base_model(world: World) -> None:
    await world.promoted()
    swap = await world.registry.rollback("pawl", **WHO)
    assert swap.version == "base"
    assert world.registry.resolve("pawl").version == "base"


async def test_the_base_model_cannot_be_rolled_back(world: World) -> None:
    with pytest.raises(NothingToRollBackError):
        await world.registry.rollback("pawl", **WHO)


async def test_a_rolled_back_version_is_drained_and_unloaded(world: World) -> None:
    version = await world.promoted()
    world.host.flying[version] = 1
    await world.registry.rollback("pawl", **WHO)
    await asyncio.sleep(0)
    assert version in world.host.resident()
    world.host.flying[version] = 0
    await world.settled()
    assert world.observer.drains == [(version, True)]


async def test_a_version_that_does_not_drain_is_unloaded_at_the_deadline(world: World) -> None:
    version = await world.promoted()
    world.host.flying[version] = 1
    await world.registry.rollback("pawl", **WHO)
    await world.settled()
    assert world.observer.drains == [(version, False)]
    assert version not in world.host.resident()


async def test_a_rollback_whose_standby_is_lost_goes_to_the_base_model(world: World) -> None:
    first = await world.promoted()
    await world.promoted()
    await world.host.unload(first)
    world.host.refused.add(first)
    swap = await world.registry.rollback("pawl", **WHO)
    assert swap.version == "base"
    assert world.observer.fallbacks == [("pawl", first, "base")]


async def test_a_refused_load_changes_nothing(world: World) -> None:
    live = await world.promoted()
    version = await world.add()
    world.host.refused.add(version.name)
    before = world.registry.routes()["pawl"]
    with pytest.raises(AdapterRefusedError):
        await world.registry.promote(version.name, **WHO)
    assert world.registry.routes()["pawl"] == before
    assert await world.state(version.name) == "candidate"
    assert world.registry.resolve("pawl").version == live
    assert world.observer.failed == [version.name]


async def test_a_rejected_version_is_unloaded_and_never_promoted(world: World) -> None:
    version = await world.add()
    await world.registry.load(version.name)
    await world.registry.reject(version.name, **WHO)
    await world.settled()
    assert version.name not in world.host.resident()
    with pytest.raises(TransitionError, match="is rejected and cannot become live"):
        await world.registry.promote(version.name, **WHO)


async def test_a_rejected_version_cannot_be_named(world: World) -> None:
    version = await world.add()
    await world.registry.load(version.name)
    world.host.flying[version.name] = 1
    await world.registry.reject(version.name, **WHO)
    assert version.name in world.host.resident()
    with pytest.raises(UnknownModelError):
        world.registry.resolve(f"pawl@{version.name}")


async def test_live_cannot_be_retired_or_rejected(world: World) -> None:
    version = await world.promoted()
    with pytest.raises(TransitionError, match="roll back"):
        await world.registry.retire(version, **WHO)
    with pytest.raises(TransitionError, match="roll back"):
        await world.registry.reject(version, **WHO)


async def test_a_standby_is_retired_once_it_is_unloaded(world: World) -> None:
    first = await world.promoted()
    await world.promoted()
    await world.registry.retire(first, **WHO)
    assert first not in world.host.resident()
    assert world.registry.routes()["pawl"].standby is None


async def test_retiring_twice_is_harmless(world: World) -> None:
    first = await world.promoted()
    await world.promoted()
    await world.registry.retire(first, **WHO)
    await world.registry.retire(first, **WHO)
    assert world.host.unloaded == [first]


async def test_every_change_is_an_event_with_who_when_and_why(world: World) -> None:
    version = await world.add()
    await world.registry.promote(version.name, actor="ada", reason="better")
    events = await world.registry.events(version.name)
    assert [(event.from_state, event.to_state) for event in events] == [
        (None, "candidate"),
        ("candidate", "live"),
    ]
    assert (events[1].actor, events[1].reason) == ("ada", "better")
    assert events[1].at.tzinfo is not None


async def test_events_of_one_moment_keep_their_order(world: World) -> None:
    version = await world.promoted()
    await world.registry.rollback("pawl", **WHO)
    states = [event.to_state for event in await world.registry.events(version)]
    assert states == ["candidate", "live", "rolled_back"]


async def test_no_more_versions_are_resident_than_there_are_slots(world: World) -> None:
    await world.restart(slots=2)
    await world.promoted()
    await world.promoted()
    version = await world.add()
    with pytest.raises(NoFreeSlotError, match=r"all 2 slots are taken by .*live.*standby"):
        await world.registry.load(version.name)


async def test_a_full_engine_first_lets_go_of_what_nobody_wants(world: World) -> None:
    await world.restart(slots=1)
    version = await world.add()
    await world.registry.load(version.name)
    world.host.flying[version.name] = 1
    await world.registry.reject(version.name, **WHO)
    other = await world.add()
    await world.registry.load(other.name)
    assert world.host.resident() == {other.name}
