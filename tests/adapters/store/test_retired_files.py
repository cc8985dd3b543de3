"""The files of versions that have ended."""

import pytest

from tests.adapters.world import WHO, World

pytestmark = pytest.mark.anyio


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
