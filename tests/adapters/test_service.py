"""The registry: promote, roll back, reject, retire, and what is refused."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from adapters.artifacts import Manifest
from adapters.errors import (
    AdapterRefusedError,
    ChannelTakenError,
    DuplicateAdapterError,
    InvalidNameError,
    NoFreeSlotError,
    NothingToRollBackError,
    RouteChangeError,
    TransitionError,
    UnknownChannelError,
    UnknownModelError,
    UnknownVersionError,
    VettingError,
)
from adapters.peft_config import PeftConfig, read_config
from adapters.schemas import RouteIn
from tests.adapters.world import WHO, HeldLoads, World

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


async def test_the_same_content_twice_is_refused_by_name(world: World) -> None:
    first = await world.registry.add(world.adapter(seed=7), channel="pawl", actor="a")
    with pytest.raises(DuplicateAdapterError, match=first.name):
        await world.registry.add(world.adapter(seed=7), channel="pawl", actor="a")


async def test_a_run_that_registers_again_gets_its_version(world: World) -> None:
    first = await world.registry.add(
        world.adapter(seed=7), channel="pawl", actor="run", slot="2026-w47", run="r1"
    )
    again = await world.registry.add(
        world.adapter(seed=7), channel="pawl", actor="run", slot="2026-w47", run="r1"
    )
    assert again.name == first.name


async def test_a_rolled_back_adapter_comes_back_by_hand_under_a_new_name(world: World) -> None:
    first = await world.registry.add(world.adapter(seed=7), channel="pawl", actor="a")
    await world.registry.promote(first.name, **WHO)
    await world.registry.rollback("pawl", **WHO)
    again = await world.registry.add(world.adapter(seed=7), channel="pawl", actor="a")
    assert again.name == f"import-{first.digest[:7]}"


async def test_a_rejected_adapter_does_not_come_in_again(world: World) -> None:
    first = await world.registry.add(world.adapter(seed=7), channel="pawl", actor="a")
    await world.registry.reject(first.name, **WHO)
    with pytest.raises(DuplicateAdapterError, match="rejected"):
        await world.registry.add(world.adapter(seed=7), channel="pawl", actor="a")


async def test_weights_that_are_swapped_only_while_they_are_vetted_stay_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = world.adapter()
    weights = folder / "adapter_model.safetensors"
    good, bad = weights.read_bytes(), b"no weights at all"
    weights.write_bytes(bad)
    publish = world.store.publish

    def swap(vetted: Path) -> PeftConfig:
        weights.write_bytes(good)
        return read_config(vetted)

    def swap_back(vetted: Path, manifest: Manifest) -> str:
        weights.write_bytes(bad)
        return publish(vetted, manifest)

    monkeypatch.setattr("adapters.vetting.read_config", swap)
    monkeypatch.setattr(world.store, "publish", swap_back)
    with pytest.raises(VettingError):
        await world.registry.add(folder, channel="pawl", actor="a")
    assert await world.registry.versions("pawl") == []
    assert list((world.root / "pawl").iterdir()) == []


async def test_two_channels_may_hold_the_same_content(world: World) -> None:
    await world.registry.ensure_channel("shop", "default")
    first = await world.registry.add(world.adapter(seed=7), channel="pawl", actor="a")
    second = await world.registry.add(world.adapter(seed=7), channel="shop", actor="a")
    assert first.name != second.name


@pytest.mark.parametrize("slot", ["../x", "2026-W47", "", "2026-w47/", "2026-w47.12345"])
async def test_a_slot_that_is_none_is_refused(world: World, slot: str) -> None:
    with pytest.raises(InvalidNameError):
        await world.registry.add(world.adapter(), channel="pawl", actor="a", slot=slot)


async def test_an_unknown_channel_takes_no_adapter(world: World) -> None:
    with pytest.raises(UnknownChannelError):
        await world.registry.add(world.adapter(), channel="other", actor="a")


async def test_an_unknown_parent_is_refused(world: World) -> None:
    with pytest.raises(UnknownVersionError):
        await world.add(parent="2026-w01-abcdef")


async def test_lineage_begins_with_the_version_and_ends_before_base(world: World) -> None:
    first = await world.add(parent="base")
    second = await world.add(parent=first.name)
    third = await world.add(parent=second.name)
    assert await world.registry.lineage(third.name) == [third.name, second.name, first.name]


async def test_a_description_shows_lineage_residency_and_figures(world: World) -> None:
    version = await world.promoted()
    await world.registry.set_figures(version, {"win": 0.6})
    await world.registry.set_figures(version, {"pairs": 9})
    (described,) = await world.registry.describe("pawl")
    assert described.figures == {"win": 0.6, "pairs": 9}
    assert (described.lineage, described.resident, described.state) == ([version], True, "live")


async def test_a_channel_of_another_tenant_cannot_be_taken(world: World) -> None:
    with pytest.raises(ChannelTakenError):
        await world.registry.ensure_channel("pawl", "other")


@pytest.mark.parametrize("name", ["", "a@b", "../x", "A", "a" * 64])
async def test_a_channel_needs_a_safe_name(world: World, name: str) -> None:
    with pytest.raises(InvalidNameError):
        await world.registry.ensure_channel(name, "default")


async def test_channels_change_independently(world: World) -> None:
    await world.registry.ensure_channel("shop", "default")
    live = await world.promoted("shop")
    assert world.registry.resolve("shop").version == live
    assert world.registry.resolve("pawl").version == "base"


async def test_a_version_is_not_reachable_through_another_channel(world: World) -> None:
    await world.registry.ensure_channel("shop", "other")
    live = await world.promoted("shop")
    with pytest.raises(UnknownModelError):
        world.registry.resolve(f"pawl@{live}")


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


async def test_files_of_an_answer_that_outlived_its_drain_stay(unstarted: World) -> None:
    unstarted.config = unstarted.config.model_copy(update={"grace_days": 0.0})
    unstarted.make()
    await unstarted.registry.start()
    version = await unstarted.promoted()
    unstarted.host.flying[version] = 1
    await unstarted.registry.rollback("pawl", **WHO)
    await unstarted.settled()
    assert version not in unstarted.host.resident()
    assert await unstarted.registry.purge(unstarted.clock.now()) == []
    unstarted.host.flying[version] = 0
    assert await unstarted.registry.purge(unstarted.clock.now()) == [version]


async def test_files_go_after_the_grace_period_and_not_before(world: World) -> None:
    version = await world.add()
    await world.registry.reject(version.name, **WHO)
    assert await world.registry.purge(world.clock.now()) == []
    world.clock.seconds += 31 * 86400
    assert await world.registry.purge(world.clock.now()) == [version.name]
    assert not world.store.exists(version)
    assert await world.registry.purge(world.clock.now()) == []


async def test_files_of_versions_that_may_serve_are_never_purged(world: World) -> None:
    await world.promoted()
    await world.add()
    world.clock.seconds += 1000 * 86400
    assert await world.registry.purge(world.clock.now()) == []


async def test_a_name_is_not_used_again_after_its_files_are_gone(world: World) -> None:
    first = await world.registry.add(world.adapter(seed=7), channel="pawl", actor="a")
    await world.registry.promote(first.name, **WHO)
    await world.registry.rollback("pawl", **WHO)
    await world.settled()
    world.clock.seconds += 31 * 86400
    await world.registry.purge(world.clock.now())
    again = await world.registry.add(world.adapter(seed=7), channel="pawl", actor="a")
    assert again.name != first.name
