"""A server that joins others, comes back to them, or was paused."""

import asyncio

import pytest

from adapters.cluster.membership import Identity, Membership
from adapters.errors import ForeignBaseModelError
from tests.adapters.servers import OTHER_BASE, Servers

pytestmark = pytest.mark.anyio


async def test_a_server_joins_with_all_that_the_routes_name(servers: Servers) -> None:
    a, b = await servers.pair()
    async with b.following():
        live = await a.promoted(await servers.add(a, 1))
    c = await servers.started("c")
    assert c.answers == live
    assert (await servers.peer(c)).ready


async def test_a_server_that_lacks_what_others_hold_is_not_ready_and_goes_on_trying(
    servers: Servers,
) -> None:
    a = await servers.started("a")
    live = await a.promoted(await servers.add(a, 1))
    b = servers.make("b")
    b.host.refused.add(live)
    await b.registry.start()
    assert (b.answers, b.registry.is_fallback) == ("base", True)
    assert not (await servers.peer(b)).ready
    b.host.refused.clear()
    b.clock.seconds += servers.config.cluster.retry_seconds
    await b.pulse()
    assert (b.answers, b.registry.is_fallback) == (live, False)
    assert (await servers.peer(b)).ready


async def test_a_server_that_starts_blocks_nothing(servers: Servers) -> None:
    a = await servers.started("a")
    live = await a.promoted(await servers.add(a, 1))
    b = servers.make("b")
    b.host.refused.add(live)
    await b.registry.start()
    await a.promoted(await servers.add(a, 2))
    assert a.cluster.waited == 0


async def test_without_another_ready_server_a_stand_in_answers_and_the_server_is_ready(
    servers: Servers,
) -> None:
    a = await servers.started("a")
    live = await a.promoted(await servers.add(a, 1))
    await a.registry.close()
    b = servers.make("b")
    b.host.refused.add(live)
    await b.registry.start()
    assert (b.answers, b.registry.is_fallback) == ("base", False)


async def test_damaged_files_on_one_server_change_no_route_while_another_lives(
    servers: Servers,
) -> None:
    a = await servers.started("a")
    live = await a.promoted(await servers.add(a, 1))
    servers.spoil(live)
    b = await servers.started("b")
    assert b.answers == "base"
    assert b.observer.fallbacks == [("pawl", live, "base")]
    assert (await a.registry.route_now("pawl")).live == live
    assert (await a.registry.version(live)).state == "live"


async def test_a_server_with_another_base_model_does_not_start(servers: Servers) -> None:
    a = await servers.started("a")
    live = await a.promoted(await servers.add(a, 1))
    b = servers.make("b", base=OTHER_BASE)
    with pytest.raises(ForeignBaseModelError, match="the server a on this database"):
        await b.registry.start()
    assert (await a.registry.version(live)).state == "live"
    assert [peer.name for peer in await a.registry.servers()] == ["a"]


async def test_servers_that_start_at_once_on_a_new_base_model_agree(servers: Servers) -> None:
    a = await servers.started("a")
    live = await a.promoted(await servers.add(a, 1))
    await a.registry.close()
    both = [servers.make(name, base=OTHER_BASE) for name in ("b", "c")]
    await asyncio.gather(*(one.registry.start() for one in both))
    assert [one.answers for one in both] == ["base", "base"]
    assert (await a.registry.version(live)).state == "incompatible"


async def test_a_server_that_was_paused_is_ready_again_once_it_holds_what_came_meanwhile(
    servers: Servers,
) -> None:
    a, b = await servers.pair()
    await servers.silence(b)
    live = await a.promoted(await servers.add(a, 1))
    b.host.refused.add(live)
    await b.registry._follower.poll()
    assert not (await servers.peer(b)).ready
    b.host.refused.clear()
    b.clock.seconds += servers.config.cluster.retry_seconds
    await b.pulse()
    assert (await servers.peer(b)).ready
    assert b.answers == live


async def test_a_server_whose_row_was_swept_comes_back(servers: Servers) -> None:
    a, b = await servers.pair()
    await servers.silence(b, 3600)
    await a.registry._membership.sweep()
    assert [peer.name for peer in await a.registry.servers()] == ["a"]
    await b.pulse()
    assert (await servers.peer(b)).ready


async def test_a_killed_server_is_forgotten_when_the_next_starts_on_its_folder(
    servers: Servers,
) -> None:
    a = await servers.started("a")
    membership = Membership(
        servers.database, servers.config.cluster, Identity("id-b", "b", predecessor="id-a")
    )
    assert [peer.name for peer in await membership.register()] == ["b"]
    await a.pulse()
    assert len(await membership.peers()) == 2  # it was alive after all
