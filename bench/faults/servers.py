"""Change routes through three servers under load: `python -m bench.faults.servers [--changes 100]`.

Three servers (fake engine) share one PostgreSQL and one folder of adapters, with clients on each.
Each round adds a version through one server drawn at random, makes it live through another and
rolls it back through a third. The benchmark records when each version left the route (the time of
its event in the database; one machine, one clock), and for each request when it was sent, which
version answered, and whether the text is that version's, word by word. No request may fail, mix two
versions, or be answered by a version that left the route more than two seconds before it was sent.

Then one server is stopped (SIGSTOP) repeatedly. A rollback through another server must take effect
at once, and a promotion once the stopped server counts as dead. When it resumes, it must answer the
requests that it got meanwhile with the version that is live by then.
"""

import asyncio
import math
import os
import random
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import aiohttp

from bench.support.chat import ask, session_of
from bench.support.postgres import running_postgres
from bench.support.servers import ServerProcess, start_pawl
from bench.support.stats import percentile
from bench.support.tables import Row, parser, report
from server.engine.fake.answer import answer
from tests.adapters.adapter_files import make_adapter

SERVERS = 3
CLIENTS = 4
"""On each server."""
LIMIT_SECONDS = 2.0
PAUSED_SECONDS = 4.0
"""Seconds from the last change that a stopped server missed until it resumes."""
ANSWERS_BETWEEN = 12
"""Number of answers between two changes."""
MESSAGE = {"role": "user", "content": "When do the tomatoes ripen?"}
FIELDS = {"messages": [MESSAGE]}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, with times of the wall clock."""

    server: int
    sent: float
    ended: float
    version: str
    good: bool
    mixed: bool


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the live version: when the old one left, and how long the POST took."""

    at: float
    left: str
    live: str
    seconds: float


@dataclass(slots=True)
class Seen:
    """All observations. `held` are requests that a stopped server got and answered later."""

    asked: list[Asked] = field(default_factory=list)
    promotions: list[Change] = field(default_factory=list)
    rollbacks: list[Change] = field(default_factory=list)
    paused_promotions: list[Change] = field(default_factory=list)
    paused_rollbacks: list[Change] = field(default_factory=list)
    held: list[Asked] = field(default_factory=list)
    old: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def changes(self) -> list[Change]:
        """All changes, in order."""
        made = [*self.promotions, *self.rollbacks, *self.paused_promotions, *self.paused_rollbacks]
        return sorted(made, key=lambda change: change.at)

    def late(self) -> list[float]:
        """Seconds after each change, by server, of the last request that the old version answered.

        Requests after the version has become live again do not count.
        """
        changes = self.changes
        found = []
        for number, change in enumerate(changes):
            back = (one.at for one in changes[number + 1 :] if one.live == change.left)
            until = next(back, math.inf)
            for server in range(SERVERS):
                after = [
                    one.sent - change.at
                    for one in self.asked
                    if (one.server, one.version) == (server, change.left)
                    and change.at < one.sent < until
                ]
                found.append(max(after, default=0.0))
        return found

    @property
    def failed(self) -> int:
        """The number of requests without a complete answer."""
        return sum(not one.good for one in self.asked)

    @property
    def mixed(self) -> int:
        """The number of answers that differ from their version's own text."""
        return sum(one.mixed for one in self.asked)

    @property
    def good(self) -> bool:
        """Whether all requirements hold."""
        return not (self.failed or self.mixed or self.old) and max(self.late()) <= LIMIT_SECONDS


class House:
    """The servers, and all requests to them."""

    def __init__(self, folder: Path, servers: Sequence[ServerProcess], rng: random.Random) -> None:
        self.folder = folder
        self.servers = servers
        self.rng = rng
        self.seen = Seen()
        self.sessions: list[aiohttp.ClientSession] = []
        self.live = "base"
        self.added = 0

    async def add(self, server: int) -> str:
        """Add a new candidate and return its version."""
        self.added += 1
        folder = make_adapter(self.folder / f"adapter-{self.added}", self.added)
        added = await self._post(server, "/v1/adapters", {"path": str(folder)})
        return str(added["name"])

    async def promote(self, server: int, version: str) -> Change:
        """Make a version live."""
        began, left = time.time(), self.live
        await self._post(server, f"/v1/adapters/{version}/promote", {"reason": "bench"})
        seconds = time.time() - began
        self.live = version
        return Change(await self._since(server, version, "live"), left, version, seconds)

    async def roll_back(self, server: int) -> Change:
        """Roll back the live version."""
        began, left = time.time(), self.live
        swap = await self._post(server, "/v1/rollback", {"reason": "bench"})
        seconds = time.time() - began
        self.live = str(swap["version"])
        return Change(await self._since(server, left, "rolled_back"), left, self.live, seconds)

    async def answers(self, count: int) -> None:
        """Wait until `count` more answers have ended."""
        wanted = len(self.seen.asked) + count
        while len(self.seen.asked) < wanted:
            self.seen.begun.clear()
            await self.seen.begun.wait()

    async def _since(self, server: int, version: str, state: str) -> float:
        """Return when the version entered that state, by the database's events."""
        async with self.sessions[server].get(f"/v1/adapters/{version}/events") as response:
            events = await response.json()
        moments = [event["at"] for event in events if event["to_state"] == state]
        return datetime.fromisoformat(moments[-1]).timestamp()

    async def _post(self, server: int, path: str, body: dict[str, str]) -> dict[str, object]:
        async with self.sessions[server].post(path, json=body) as response:
            found: dict[str, object] = await response.json()
            if response.status >= 400:
                raise RuntimeError(f"{path}: {response.status} {found}")
            return found


def run(
    folder: Path, *, changes: int, pauses: int, seed: int = 0, dead_seconds: float = 10
) -> Seen:
    """Serve with all data in `folder`; a server counts as dead after `dead_seconds`."""
    return asyncio.run(_run(folder, changes, pauses, random.Random(seed), dead_seconds))


async def _run(
    folder: Path, changes: int, pauses: int, rng: random.Random, dead_seconds: float
) -> Seen:
    async with _house(folder, rng, dead_seconds) as house:
        ending = asyncio.Event()
        clients = [
            asyncio.create_task(_client(house, server, ending, stream=number % 2 == 0))
            for server in range(SERVERS)
            for number in range(CLIENTS)
        ]
        try:
            for _ in range(changes):
                await _round(house)
            for number in range(pauses):
                await _pause(house, number % SERVERS)
        finally:
            ending.set()
            await asyncio.gather(*clients)
        return house.seen


@asynccontextmanager
async def _house(folder: Path, rng: random.Random, dead_seconds: float) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(running_postgres())
        postgres.execute("CREATE DATABASE pawl")
        settings = [_settings(folder, postgres.url("pawl"), dead_seconds) for _ in range(SERVERS)]
        starting = [
            asyncio.to_thread(_start, folder / f"server-{number}", one)
            for number, one in enumerate(settings)
        ]
        servers = await asyncio.gather(*starting, return_exceptions=True)
        started = [one for one in servers if isinstance(one, ServerProcess)]
        for server in started:
            stack.callback(server.stop)
        for failed in servers:
            if isinstance(failed, BaseException):
                raise failed
        house = House(folder, started, rng)
        for server in started:
            house.sessions.append(await stack.enter_async_context(session_of(server)))
        yield house


def _start(home: Path, settings: dict[str, str]) -> ServerProcess:
    home.mkdir()
    return start_pawl(home / "data", settings=settings)


def _settings(folder: Path, url: str, dead_seconds: float) -> dict[str, str]:
    return {
        "PAWL_DATABASE_URL": url,
        "PAWL_ADAPTERS__STORE": str(folder / "adapters"),
        "PAWL_ADAPTERS__CLUSTER__DEAD_SECONDS": str(dead_seconds),
        "PAWL_ADAPTERS__DRAIN_QUIET_SECONDS": "0.2",
        "PAWL_ENGINE__FAKE_TOKEN_DELAY_SECONDS": "0.01",
        "PAWL_ENGINE__ADAPTER_SLOTS": "16",
        "PAWL_RETRAIN__ENABLED": "false",
    }


async def _client(house: House, server: int, ending: asyncio.Event, *, stream: bool) -> None:
    """Chat with the channel until the end and record the answers."""
    body = {"model": "pawl", **FIELDS, "stream": stream}
    while not ending.is_set():
        sent = time.time()
        reply = await ask(house.sessions[server], body)
        named = reply.model == f"pawl@{reply.version}"
        mixed = reply.good and not (named and reply.text == answer(reply.version, FIELDS, 0).text)
        house.seen.asked.append(Asked(server, sent, time.time(), reply.version, reply.good, mixed))
        house.seen.begun.set()


async def _round(house: House) -> None:
    """Promote and roll back, each through a server drawn at random."""
    adding, promoting, undoing = (house.rng.randrange(SERVERS) for _ in range(3))
    version = await house.add(adding)
    house.seen.promotions.append(await house.promote(promoting, version))
    await house.answers(ANSWERS_BETWEEN)
    house.seen.rollbacks.append(await house.roll_back(undoing))
    await house.answers(ANSWERS_BETWEEN)


async def _pause(house: House, stopped: int) -> None:
    """Stop a server, roll back and promote through others, and resume it."""
    seen, others = house.seen, [one for one in range(SERVERS) if one != stopped]
    version = await house.add(others[0])
    seen.promotions.append(await house.promote(others[0], version))
    await house.answers(ANSWERS_BETWEEN)
    next_one = await house.add(others[1])
    os.kill(house.servers[stopped].pid, signal.SIGSTOP)
    began = time.time()
    try:
        seen.paused_rollbacks.append(await house.roll_back(others[0]))
        seen.paused_promotions.append(await house.promote(others[1], next_one))
        await asyncio.sleep(PAUSED_SECONDS)
    finally:
        went_on = time.time()
        os.kill(house.servers[stopped].pid, signal.SIGCONT)
    await house.answers(SERVERS * CLIENTS * 2)
    _look(seen, stopped, began, went_on, house.live)
    seen.rollbacks.append(await house.roll_back(stopped))
    await house.answers(ANSWERS_BETWEEN)


def _look(seen: Seen, stopped: int, began: float, went_on: float, live: str) -> None:
    """Check the server's answers after the pause; answers begun before it keep their version."""
    after = [one for one in seen.asked if one.server == stopped and one.ended >= went_on]
    held = [one for one in after if one.sent > began]
    seen.held += held
    seen.old += sum(one.version != live for one in held)


def rows(seen: Seen) -> list[Row]:
    """Return the changes under load as one row."""
    late = seen.late()
    return [
        {
            "servers": SERVERS,
            "promotions": len(seen.promotions) + len(seen.paused_promotions),
            "rollbacks": len(seen.rollbacks) + len(seen.paused_rollbacks),
            "requests": len(seen.asked),
            "failed": seen.failed,
            "mixed": seen.mixed,
            f"sent over {LIMIT_SECONDS:g} s after": sum(one > LIMIT_SECONDS for one in late),
            "propagation p50, ms": 1000 * percentile(late, 0.5),
            "propagation max, ms": 1000 * max(late),
            **_times("promotion", seen.promotions),
            **_times("rollback", seen.rollbacks),
        }
    ]


def paused_rows(seen: Seen) -> list[Row]:
    """Return the changes while a server is stopped as one row."""
    return [
        {
            "pauses": len(seen.paused_rollbacks),
            **_times("rollback", seen.paused_rollbacks),
            **_times("promotion", seen.paused_promotions),
            "sent to the stopped server": len(seen.held),
            "answered by a version that had left": seen.old,
        }
    ]


def _times(what: str, changes: Sequence[Change]) -> Row:
    taken = [1000 * change.seconds for change in changes]
    return {
        f"{what} p50, ms": percentile(taken, 0.5),
        f"{what} max, ms": max(taken, default=math.nan),
    }


def tables(seen: Seen) -> dict[str, list[Row]]:
    """Return the tables by title."""
    found = {f"Three servers under {SERVERS * CLIENTS} clients": rows(seen)}
    if seen.paused_rollbacks:
        found["One of the three stopped (SIGSTOP)"] = paused_rows(seen)
    return found


def main() -> None:
    """Print the tables; exit with 1 if a request was late, failed or mixed versions."""
    made = parser(__doc__)
    made.add_argument("--changes", type=int, default=100, help="promotions, and rollbacks")
    made.add_argument("--pauses", type=int, help="of a server; default: a twentieth of --changes")
    arguments = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="pawl-servers-") as folder:
        changes = arguments.changes
        pauses = max(1, changes // 20) if arguments.pauses is None else arguments.pauses
        seen = run(Path(folder), changes=changes, pauses=pauses, seed=arguments.seed)
    report(tables(seen), as_json=arguments.json)
    raise SystemExit(0 if seen.good else 1)


if __name__ == "__main__":
    main()
