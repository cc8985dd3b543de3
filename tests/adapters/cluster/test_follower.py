"""Which route a request begins on when this server was stopped, or the database does not answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError
from sqlmodel.ext.asyncio.session import AsyncSession
from structlog.testing import capture_logs

from common.database import Database, Result
from tests.adapters.servers import OneServer, Servers

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("backend", ["sqlite"], indirect=True)]


class Outage:
    """A database that a test takes away: it refuses, or never answers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.down = False
        self.answering = asyncio.Event()
        self.answering.set()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        await self.answering.wait()
        if self.down:
            raise OperationalError("", None, Exception())
        async with self._database.read() as session:
            yield session

    def write(self) -> AbstractAsyncContextManager[AsyncSession]:
        return self._database.write()

    async def transaction(self, work: Callable[[Connection], Result]) -> Result:
        return await self._database.transaction(work)


@pytest.fixture
async def outage(servers: Servers) -> Outage:
    """What the server `b` has for a database."""
    servers.set_cluster(beat_seconds=30, patience_seconds=30)
    return Outage(servers.database)


@pytest.fixture
async def b(servers: Servers, outage: Outage) -> AsyncIterator[OneServer]:
    """A server that looks at the database only when a request makes it."""
    server = await servers.started("b", database=outage)
    async with server.following():
        yield server


async def changed(servers: Servers, b: OneServer) -> str:
    """Another server's promotion, which did not wait for `b`; the new live version."""
    await servers.silence(b)
    a = await servers.started("a")
    return await a.promoted(await servers.add(a, 1))


async def test_a_request_begins_on_a_route_that_is_at_most_two_seconds_old(
    servers: Servers, b: OneServer
) -> None:
    live = await changed(servers, b)
    b.clock.seconds += 1.9
    await b.registry.up_to_date()
    assert b.answers == "base"
    b.clock.seconds += 0.2
    await b.registry.up_to_date()
    assert b.answers == live


async def test_without_the_database_requests_begin_on_the_last_route(
    b: OneServer, outage: Outage
) -> None:
    outage.down = True
    b.clock.seconds += 600
    with capture_logs() as logs:
        await b.registry.up_to_date()
        await b.registry.up_to_date()
    assert b.answers == "base"
    assert b.registry.route_age_seconds == 600
    assert b.cluster.looks.count(False) == 1
    assert [line["event"] for line in logs] == ["routes_not_confirmed"]


async def test_a_request_waits_for_a_silent_database_only_for_a_while(
    servers: Servers, outage: Outage
) -> None:
    servers.set_cluster(patience_seconds=0.01)
    server = await servers.started("b", database=outage)
    async with server.following():
        outage.answering.clear()
        server.clock.seconds += 600
        await server.registry.up_to_date()
        assert server.cluster.looks.count(False) > 0
        outage.answering.set()


async def test_a_look_from_before_the_pause_confirms_nothing(
    servers: Servers, b: OneServer, outage: Outage
) -> None:
    b.clock.seconds += 3
    outage.answering.clear()
    look = b.registry._follower._poll_once()
    await asyncio.sleep(0)  # it begins
    b.clock.seconds += 600
    live = await changed(servers, b)
    outage.answering.set()
    await look
    b.clock.seconds += 3
    await b.registry.up_to_date()
    assert b.answers == live


async def test_a_look_from_before_the_pause_that_fails_excuses_nothing(
    servers: Servers, b: OneServer, outage: Outage
) -> None:
    outage.answering.clear()
    look = b.registry._follower._poll_once()
    await asyncio.sleep(0)  # it begins
    b.clock.seconds += 600
    live = await changed(servers, b)
    outage.down = True
    outage.answering.set()
    await look
    outage.down = False
    await b.registry.up_to_date()
    assert b.answers == live


async def test_requests_wait_while_a_version_that_users_are_sent_to_is_loaded(
    servers: Servers, b: OneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, load = asyncio.Event(), asyncio.Event(), b.host.load

    async def held(version: str, path: Path) -> None:
        begun.set()
        await go_on.wait()
        await load(version, path)

    monkeypatch.setattr(b.host, "load", held)
    live = await changed(servers, b)
    b.clock.seconds += 3
    waiting = asyncio.create_task(b.registry.up_to_date())
    await begun.wait()
    assert not waiting.done()
    go_on.set()
    await waiting
    assert b.answers == live


async def test_requests_do_not_wait_for_a_load_for_ever(
    servers: Servers, b: OneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(version: str, path: Path) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(b.host, "load", hang)
    await changed(servers, b)
    b.clock.seconds += 3
    waiting = asyncio.create_task(b.registry.up_to_date())
    await asyncio.wait({waiting}, timeout=0.05)
    b.clock.seconds += servers.config.cluster.catch_up_seconds
    await b.registry.up_to_date()
    assert b.answers == "base"
    waiting.cancel()


async def test_a_signal_is_followed_at_once(servers: Servers, b: OneServer) -> None:
    live = await changed(servers, b)
    b.observer.changed.clear()
    b.registry.route_signalled()
    async with asyncio.timeout(10):
        await b.observer.changed.wait()
    assert b.registry.routes()["pawl"].live == live
