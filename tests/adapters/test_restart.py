"""What a start makes of what was left: loads, damage, other base models, crashes."""

from dataclasses import replace

import pytest

from adapters.errors import ChannelTakenError, TransitionError
from adapters.schemas import RouteIn
from tests.adapters.adapter_files import BASE
from tests.adapters.world import WHO, World

pytestmark = pytest.mark.anyio

OTHER_BASE = replace(BASE, name="other", fingerprint="0" * 64)


async def test_live_and_standby_are_loaded_again(world: World) -> None:
    first = await world.promoted()
    second = await world.promoted()
    await world.restart()
    assert world.host.loaded == [second, first]
    assert world.registry.resolve("pawl").version == second


async def test_canary_and_shadow_are_loaded_again(world: World) -> None:
    canary, shadow = await world.add(), await world.add()
    wanted = RouteIn(canary=canary.name, canary_share=0.1, shadow=shadow.name, shadow_share=1)
    await world.registry.set_route("pawl", wanted, **WHO)
    await world.restart()
    assert world.host.resident() == {canary.name, shadow.name}


async def test_candidates_are_left_unloaded(world: World) -> None:
    version = await world.add()
    await world.registry.load(version.name)
    await world.restart()
    assert world.host.loaded == []


async def test_a_restart_does_not_count_as_a_change(world: World) -> None:
    await world.promoted()
    await world.restart()
    assert world.observer.epochs == [("pawl", 1, world.registry.routes()["pawl"].live)]


async def test_a_damaged_live_falls_back_to_standby_loudly(world: World) -> None:
    first = await world.promoted()
    second = await world.promoted()
    world.spoil(second)
    await world.restart()
    assert world.registry.resolve("pawl").version == first
    assert [await world.state(name) for name in (first, second)] == ["live", "rolled_back"]
    assert world.observer.fallbacks == [("pawl", second, first)]
    assert world.observer.failed == [second]
    assert (await world.registry.events(second))[-1].reason == "its files are damaged"


async def test_damaged_files_of_all_versions_leave_the_base_model(world: World) -> None:
    first = await world.promoted()
    second = await world.promoted()
    world.spoil(first)
    world.spoil(second)
    await world.restart()
    assert world.registry.resolve("pawl").version == "base"
    assert world.registry.routes()["pawl"].live == "base"
    assert world.host.loaded == []


async def test_a_missing_live_falls_back_to_the_base_model(world: World) -> None:
    live = await world.promoted()
    world.store.remove(await world.registry.version(live))
    await world.restart()
    assert world.registry.resolve("pawl").version == "base"
    assert world.observer.fallbacks == [("pawl", live, "base")]


async def test_a_damaged_standby_is_retired_and_live_stays(world: World) -> None:
    first = await world.promoted()
    second = await world.promoted()
    world.spoil(first)
    await world.restart()
    assert world.registry.resolve("pawl").version == second
    assert await world.state(first) == "retired"


async def test_a_damaged_shadow_is_rejected(world: World) -> None:
    shadow = await world.add()
    await world.registry.set_route("pawl", RouteIn(shadow=shadow.name, shadow_share=1), **WHO)
    world.spoil(shadow.name)
    await world.restart()
    assert await world.state(shadow.name) == "rejected"


async def test_a_live_that_the_engine_refuses_is_tried_again_at_the_next_start(
    world: World,
) -> None:
    first = await world.promoted()
    second = await world.promoted()
    await world.registry.close()
    world.make()
    world.host.refused.add(second)
    await world.registry.start()
    assert world.registry.resolve("pawl").version == first
    assert world.observer.fallbacks == [("pawl", second, first)]
    await world.restart()
    assert world.registry.resolve("pawl").version == second


async def test_with_too_few_slots_live_goes_before_standby(world: World) -> None:
    await world.promoted()
    second = await world.promoted()
    await world.restart(slots=1)
    assert world.host.resident() == {second}


async def test_another_base_model_makes_all_versions_incompatible(world: World) -> None:
    first = await world.promoted()
    second = await world.promoted()
    candidate = await world.add()
    await world.restart(base=OTHER_BASE)
    names = (first, second, candidate.name)
    assert {await world.state(name) for name in names} == {"incompatible"}
    assert world.registry.resolve("pawl").version == "base"
    assert world.host.loaded == []
    assert world.observer.fallbacks == [("pawl", second, "base")]


async def test_an_incompatible_version_cannot_be_promoted(world: World) -> None:
    version = await world.add()
    await world.restart(base=OTHER_BASE)
    with pytest.raises(TransitionError, match="serve the base model it was trained on"):
        await world.registry.promote(version.name, **WHO)


async def test_versions_are_candidates_again_when_their_base_model_is_back(world: World) -> None:
    live = await world.promoted()
    await world.restart(base=OTHER_BASE)
    await world.restart()
    assert await world.state(live) == "candidate"
    assert (await world.registry.promote(live, **WHO)).version == live


async def test_versions_that_ended_stay_ended_under_another_base_model(world: World) -> None:
    version = await world.add()
    await world.registry.reject(version.name, **WHO)
    await world.restart(base=OTHER_BASE)
    assert await world.state(version.name) == "rejected"


async def test_leftovers_of_a_crash_are_removed(unstarted: World) -> None:
    leftover = unstarted.root / "pawl" / ".adding-0123"
    leftover.mkdir(parents=True)
    (leftover / "adapter_model.safetensors").write_bytes(b"half")
    await unstarted.registry.start()
    assert not leftover.exists()


async def test_a_crash_between_load_and_commit_is_harmless(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = await world.promoted()
    version = await world.add()

    async def crash(*_: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(world.registry._ledger, "commit", crash)
        with pytest.raises(OSError, match="power cut"):
            await world.registry.promote(version.name, **WHO)
    assert version.name in world.host.resident()
    assert world.registry.resolve("pawl").version == live
    await world.restart()
    assert world.registry.resolve("pawl").version == live
    assert (await world.registry.promote(version.name, **WHO)).previous == live


async def test_a_crash_between_publish_and_registration_is_taken_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(world.registry._ledger, "register", crash)
        with pytest.raises(OSError, match="power cut"):
            await world.registry.add(world.adapter(seed=3), channel="pawl", actor="a")
    await world.restart()
    version = await world.registry.add(world.adapter(seed=3), channel="pawl", actor="a")
    await world.registry.promote(version.name, **WHO)
    assert world.registry.resolve("pawl").version == version.name


async def test_the_default_channel_of_another_tenant_stops_the_start(world: World) -> None:
    world.config = world.config.model_copy(update={"tenant": "other"})
    with pytest.raises(ChannelTakenError):
        await world.restart()


async def test_a_damaged_candidate_is_not_promoted(world: World) -> None:
    version = await world.add()
    world.spoil(version.name)
    with pytest.raises(Exception, match="damaged"):
        await world.registry.promote(version.name, **WHO)
    assert world.registry.resolve("pawl").version == "base"
