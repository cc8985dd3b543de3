"""What is loaded next, and when again, on a server that lacks versions."""

import asyncio
from pathlib import Path

import pytest

from adapters.cluster.reconciler import LoadFailure, first_to_try
from tests.adapters.servers import OneServer, Servers

pytestmark = pytest.mark.anyio


class SlowRefusals:
    """The server's engine, which takes `seconds` to refuse `version`; `tried` is what it saw."""

    def __init__(self, server: OneServer, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
        self.seconds = 0.0
        self.tried: list[str] = []
        self._server, self._version, self._load = server, version, server.host.load
        server.host.refused.add(version)
        monkeypatch.setattr(server.host, "load", self.load)

    async def load(self, version: str, path: Path) -> None:
        self.tried.append(version)
        if version == self._version:
            self._server.clock.seconds += self.seconds
        await self._load(version, path)


@pytest.fixture
async def a(servers: Servers) -> OneServer:
    """The server through which everything is changed."""
    servers.set_cluster(retry_seconds=30)
    return await servers.started("a")


@pytest.fixture
async def b(servers: Servers, a: OneServer) -> OneServer:
    """A server that has missed what is live by now."""
    made = await servers.started("b")
    await servers.silence(made)
    for seed in (1, 2):
        await a.promoted(await servers.add(a, seed))
    return made


@pytest.fixture
def slow(b: OneServer, a: OneServer, monkeypatch: pytest.MonkeyPatch) -> SlowRefusals:
    """The engine of `b`, which refuses what is live."""
    return SlowRefusals(b, monkeypatch, a.answers)


async def caught_up(server: OneServer) -> None:
    """Have it look at the routes, and wait until it has tried what it can try now."""
    async with asyncio.timeout(10):
        await server.registry._follower.poll()
        await server.registry._follower._reconciler.done(5)


async def test_a_load_that_fails_after_long_is_tried_again_only_after_a_pause(
    a: OneServer, b: OneServer, slow: SlowRefusals
) -> None:
    slow.seconds = 60
    await caught_up(b)
    assert slow.tried.count(a.answers) == 1


async def test_nothing_waits_behind_a_version_whose_loads_fail_slowly(
    a: OneServer, b: OneServer, slow: SlowRefusals
) -> None:
    slow.seconds = 60
    await caught_up(b)
    assert a.registry.routes()["pawl"].standby in b.host.resident()


def test_what_has_not_failed_is_tried_before_what_is_due() -> None:
    assert first_to_try(["live", "new"], {"live": LoadFailure("", 1.0)}, 2.0) == "new"


def test_of_those_that_are_due_the_one_that_was_due_first_is_tried() -> None:
    failed = {"live": LoadFailure("", 2.0), "standby": LoadFailure("", 1.0)}
    assert first_to_try(failed, failed, 3.0) == "standby"


def test_what_is_not_due_or_never_again_is_not_tried() -> None:
    failed = {"live": LoadFailure("", 2.0), "request": LoadFailure("", None)}
    assert first_to_try(failed, failed, 1.0) is None
