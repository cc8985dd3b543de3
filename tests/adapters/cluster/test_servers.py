"""Several servers on one database: a promotion waits for all, a rollback for none."""

import asyncio
from datetime import timedelta

import pytest

from adapters.cluster.load_requests import LoadRequests
from adapters.errors import (
    DuplicateAdapterError,
    NotLoadedEverywhereError,
    StaleRouteError,
)
from adapters.models import Version
from adapters.schemas import RouteIn
from tests.adapters.servers import WHO, OneServer, Servers
from tests.waiting import until

pytestmark = pytest.mark.anyio


async def promoting(server: OneServer, version: Version) -> "asyncio.Task[str]":
    """A promotion that waits for another server."""
    task = asyncio.create_task(server.promoted(version))
    await until(server.cluster.waits.is_set)
    return task


async def test_a_version_is_live_once_every_server_holds_it(servers: Servers) -> None:
    a, b = await servers.pair()
    version = await servers.add(a, 1)
    task = await promoting(a, version)
    assert a.answers == "base"
    await b.pulse()
    assert await task == version.name
    assert b.host.resident() == {version.name}
    await b.pulse()
    assert b.answers == version.name


async def test_nobody_is_asked_where_nobody_has_to_be_waited_for(servers: Servers) -> None:
    a = await servers.started("a")
    await a.promoted(await servers.add(a, 1))
    assert a.cluster.waited == 0


async def test_servers_that_have_not_loaded_in_time_are_named_and_nothing_changes(
    servers: Servers,
) -> None:
    a, _ = await servers.pair()
    version = await servers.add(a, 1)
    task = await promoting(a, version)
    a.clock.seconds += servers.config.load_timeout_seconds
    with pytest.raises(NotLoadedEverywhereError, match=r"\(b: it is not loaded there\)") as raised:
        await task
    assert set(raised.value.servers) == {"b"}
    assert (a.answers, a.cluster.waiting) == ("base", 0)
    assert await a.registry._follower._requests.pending() == {}


async def test_a_server_that_cannot_load_ends_the_promotion_at_once(servers: Servers) -> None:
    a, b = await servers.pair()
    version = await servers.add(a, 1)
    b.host.refused.add(version.name)
    async with b.following():
        with pytest.raises(NotLoadedEverywhereError, match="b: AdapterRefusedError"):
            await a.promoted(version)
        b.host.refused.clear()
        assert await a.promoted(version) == version.name


async def test_a_dead_server_blocks_nothing(servers: Servers) -> None:
    a, b = await servers.pair()
    await servers.silence(b)
    await a.promoted(await servers.add(a, 1))
    assert a.cluster.waited == 0


async def test_a_server_stops_blocking_when_it_dies(servers: Servers) -> None:
    a, b = await servers.pair()
    version = await servers.add(a, 1)
    task = await promoting(a, version)
    await servers.silence(b)
    assert await task == version.name


async def test_a_server_that_drains_blocks_nothing(servers: Servers) -> None:
    a, b = await servers.pair()
    b.registry._follower._draining = lambda: True
    await b.pulse()
    await a.promoted(await servers.add(a, 1))
    assert a.cluster.waited == 0


async def test_a_server_that_has_ended_is_gone(servers: Servers) -> None:
    a, b = await servers.pair()
    await b.registry.close()
    assert [peer.name for peer in await a.registry.servers()] == ["a"]


async def test_a_rollback_waits_for_no_one(servers: Servers) -> None:
    a, b = await servers.pair()
    async with b.following():
        first = await a.promoted(await servers.add(a, 1))
        await a.promoted(await servers.add(a, 2))
    assert (await a.registry.rollback("pawl", **WHO)).version == first
    assert a.answers == first
    await b.pulse()
    assert b.answers == first
    assert b.host.loaded.count(first) == 1


async def test_a_rollback_on_the_other_server_knows_the_last_promotion(servers: Servers) -> None:
    a, b = await servers.pair()
    await servers.silence(b)
    live = await a.promoted(await servers.add(a, 1))
    swap = await b.registry.rollback("pawl", **WHO)
    assert (swap.previous, swap.version) == (live, "base")


async def test_a_rollback_to_what_only_others_hold_is_made(servers: Servers) -> None:
    a, b = await servers.pair()
    await servers.silence(b)
    first = await a.promoted(await servers.add(a, 1))
    await a.promoted(await servers.add(a, 2))
    await a.pulse()
    b.host.refused.add(first)
    assert (await b.registry.rollback("pawl", **WHO)).version == first


async def test_promotions_on_two_servers_at_once_happen_one_after_the_other(
    servers: Servers,
) -> None:
    a, b = await servers.pair()
    one, two = await servers.add(a, 1), await servers.add(b, 2)
    async with a.following(), b.following():
        swaps = await asyncio.gather(
            a.registry.promote(one.name, **WHO), b.registry.promote(two.name, **WHO)
        )
    assert sorted(swap.epoch for swap in swaps) == [1, 2]
    earlier, later = sorted(swaps, key=lambda swap: swap.epoch)
    assert later.previous == earlier.version
    await a.pulse()
    assert a.answers == later.version


async def test_of_two_that_decide_on_the_same_route_one_changes_it(servers: Servers) -> None:
    a, b = await servers.pair()
    async with b.following():
        await a.promoted(await servers.add(a, 1))
    results = await asyncio.gather(
        *(one.registry.rollback("pawl", **WHO, epoch=1) for one in (a, b)), return_exceptions=True
    )
    assert [type(one) for one in results if isinstance(one, Exception)] == [StaleRouteError]
    await a.pulse()
    assert (a.answers, a.registry.routes()["pawl"].epoch) == ("base", 2)


async def test_a_canary_set_beside_anothers_shadow_keeps_both(servers: Servers) -> None:
    a, b = await servers.pair()
    canary, shadow = await servers.add(a, 1), await servers.add(b, 2)
    async with a.following(), b.following():
        await asyncio.gather(
            a.registry.set_canary(canary.name, 0.1, **WHO),
            b.registry.set_shadow(shadow.name, 0.5, **WHO),
        )
    route = await a.registry.route_now("pawl")
    assert (route.canary, route.shadow) == (canary.name, shadow.name)


async def test_a_server_that_becomes_ready_meanwhile_is_not_missed(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await servers.pair()
    version = await servers.add(a, 1)
    looked = 0
    everywhere = LoadRequests.wait_until_loaded

    async def blind_at_first(requests: LoadRequests, asked: object) -> None:
        nonlocal looked
        looked += 1
        if looked > 1:
            await everywhere(requests, asked)  # type: ignore[arg-type]

    monkeypatch.setattr(LoadRequests, "wait_until_loaded", blind_at_first)
    async with b.following():
        await a.promoted(version)
    assert looked == 2
    assert b.host.resident() == {version.name}


async def test_the_same_adapter_added_on_two_servers_at_once_is_one_version(
    servers: Servers,
) -> None:
    a, b = await servers.pair()
    added = await asyncio.gather(
        *(
            one.registry.add(
                servers.adapter(7), channel="pawl", actor="x", slot="2026-w47", run="r"
            )
            for one in (a, b)
        )
    )
    assert added[0].name == added[1].name
    assert len(await a.registry.versions("pawl")) == 1


async def test_the_same_adapter_added_by_hand_on_two_servers_is_refused_once(
    servers: Servers,
) -> None:
    a, b = await servers.pair()
    added = await asyncio.gather(
        *(one.registry.add(servers.adapter(7), channel="pawl", actor="x") for one in (a, b)),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in added) == [
        DuplicateAdapterError.__name__,
        Version.__name__,
    ]
    (version,) = await a.registry.versions("pawl")
    assert servers.store.exists(version)
    await a.promoted(version)


async def test_files_that_another_server_needs_are_not_purged(servers: Servers) -> None:
    a, b = await servers.pair()
    async with b.following():
        version = await servers.add(a, 1)
        await a.promoted(version)
    await a.registry.rollback("pawl", **WHO)
    later = a.clock.now() + timedelta(days=servers.config.grace_days + 1)
    await a.registry._residency.drain(version.name)
    assert await a.registry.purge(later) == []
    await b.pulse()
    await b.registry._residency.drain(version.name)
    await b.pulse()
    assert await a.registry.purge(later) == [version.name]


async def test_events_are_in_order_though_the_servers_clocks_differ(servers: Servers) -> None:
    a, b = await servers.pair()
    a.clock.seconds += 3600
    async with b.following():
        version = await a.promoted(await servers.add(a, 1))
    await b.registry.rollback("pawl", **WHO)
    states = [event.to_state for event in await a.registry.events(version)]
    assert states == ["candidate", "live", "rolled_back"]


async def test_what_was_loaded_for_a_promotion_that_failed_gives_its_slot_to_the_next(
    servers: Servers,
) -> None:
    a, b = await servers.pair()
    c = await servers.started("c")
    b.host._slots = 1
    failing, next_one = await servers.add(a, 1), await servers.add(a, 2)
    c.host.refused.add(failing.name)
    task = await promoting(a, failing)
    await b.pulse()
    assert b.host.resident() == {failing.name}
    await c.pulse()
    with pytest.raises(NotLoadedEverywhereError):
        await task
    await servers.silence(c)
    task = await promoting(a, next_one)
    await b.pulse()
    await task
    assert b.host.resident() == {next_one.name}


async def test_a_rejected_candidate_is_let_go_everywhere(servers: Servers) -> None:
    a, b = await servers.pair()
    version = await servers.add(a, 1)
    await b.registry.load(version.name)
    await a.registry.reject(version.name, **WHO)
    await b.pulse()
    await b.registry._residency.drain(version.name)
    assert b.host.resident() == frozenset()


async def test_the_whole_route_is_set_once_every_server_holds_all_of_it(servers: Servers) -> None:
    a, b = await servers.pair()
    live, canary = await servers.add(a, 1), await servers.add(a, 2)
    async with b.following():
        wanted = RouteIn(live=live.name, canary=canary.name, canary_share=0.5)
        await a.registry.set_route("pawl", wanted, **WHO)
    assert b.host.resident() == {live.name, canary.name}


async def test_what_a_server_sees_of_the_others_is_told(servers: Servers) -> None:
    a, b = await servers.pair()
    b.registry._follower._draining = lambda: True
    await b.pulse()
    await a.pulse()
    assert a.cluster.seen == (1, 0, 1)
