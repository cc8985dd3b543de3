"""Kills Pawl while clients post feedback: `python -m bench.durability [--database postgresql]`.

Clients post feedback, each with an id of its own, in a closed loop. At a random instant the server
is killed with SIGKILL and restarted on the same data, and every post without a response is sent
again with the same id. Then each acknowledged post must be in the log, and each id once. No process
that the killed server had started may outlive it.

The engine is the fake one unless `--engine vllm` is given, since feedback is tested, not answers.
"""

import asyncio
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from bench.support.log_stores import DATABASES, DatabaseKind, LogStore, log_store
from bench.support.preloaded import Preloaded
from bench.support.processes import carrying, family, survivors
from bench.support.servers import ServerProcess, start_pawl
from bench.support.tables import Row, parser, report

CLIENTS = 80
LEAST_IN_FLIGHT = 50
INTERACTIONS = 20
SMALL = {"PAWL_ENGINE__DTYPE": "float32", "PAWL_ENGINE__KV_CACHE_GIB": "0.25"}
"""Settings with which the real engine starts quickly; the fake one ignores them."""
KILL_AFTER_SECONDS = (0.05, 0.8)
"""Seconds from the first acknowledgement to the kill, drawn uniformly from this range."""


@dataclass(frozen=True, slots=True)
class Kill:
    """The state at one kill and after it, counted before anything was sent again.

    `sent` counts posts by id. `kept` posts were stored although the client got no response.
    `processes` were killed or had to end; `orphans` of them did not end.
    """

    sent: int
    in_flight: int
    acknowledged: int
    kept: int
    lost: int
    processes: int
    orphans: int


@dataclass(frozen=True, slots=True)
class _Shot:
    """The state at the moment of the kill."""

    in_flight: int
    processes: int
    orphans: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """All kills, and the contents of the log at the end."""

    kills: list[Kill]
    sent: int
    stored: int
    missing: int
    doubled: int
    invented: int

    @property
    def good(self) -> bool:
        """Whether no acknowledged post was lost, none stored twice, and enough were in flight."""
        busy = all(kill.in_flight >= LEAST_IN_FLIGHT for kill in self.kills)
        lost = sum(kill.lost + kill.orphans for kill in self.kills)
        return busy and not (lost or self.missing or self.doubled or self.invented)


@dataclass(slots=True)
class _Posts:
    """What was sent, by the client's id."""

    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    in_flight: set[str] = field(default_factory=set)
    heard: asyncio.Event = field(default_factory=asyncio.Event)


async def run(
    folder: Path,
    *,
    kills: int,
    rng: random.Random,
    database: DatabaseKind = "sqlite",
    model: Path | None = None,
) -> Outcome:
    """Kill the server `kills` times.

    Args:
        folder: An empty folder for all data.
        kills: Number of kills.
        rng: Draws the instants.
        database: The database of the log; a PostgreSQL server is started for it.
        model: A model's folder for the real engine; None uses the fake engine.

    """
    data_dir = folder / "data"
    quickly = Preloaded() if model is None else nullcontext()
    with log_store(database, data_dir) as store, quickly as preloaded:
        settings = {**SMALL, **store.settings}
        start = partial(start_pawl, data_dir, model=model, settings=settings, preloaded=preloaded)
        posts, done, ids = _Posts(), [], count()
        server = start()
        try:
            rated = await _interactions(server)
            for number in range(kills):
                before = set(posts.bodies)
                shot = await _until_killed(server, posts, _bodies(ids, rated), rng)
                server = start()
                done.append(_look(store, posts, set(posts.bodies) - before, shot))
                await _send_again(server, posts)
                _tell(number + 1, kills)
        finally:
            server.stop()
        return _outcome(store, posts, done)


def _tell(done: int, kills: int) -> None:
    if done % 10 == 0:
        print(f"{done} of {kills} kills", file=sys.stderr, flush=True)


async def _interactions(server: ServerProcess) -> list[str]:
    """Return ids of interactions to rate."""
    body = {"model": "pawl", "messages": [{"role": "user", "content": "When?"}]}
    async with _session(server) as session:
        return [
            (await _json(session, "/v1/chat/completions", body))["id"] for _ in range(INTERACTIONS)
        ]


def _bodies(ids: Iterator[int], rated: list[str]) -> Iterator[dict[str, Any]]:
    for number in ids:
        yield {
            "id": f"post-{number}",
            "inference_id": rated[number % len(rated)],
            "metric_name": "comment",
            "value": f"comment number {number}",
            "rater": f"rater-{number % 997}",
        }


async def _until_killed(
    server: ServerProcess, posts: _Posts, bodies: Iterator[dict[str, Any]], rng: random.Random
) -> _Shot:
    """Post without a pause until the server is dead, then count the processes it left."""
    mark = f"TMPDIR={server.started.scratch.name}"
    posts.heard.clear()
    async with _session(server) as session:
        clients = [asyncio.create_task(_client(session, posts, bodies)) for _ in range(CLIENTS)]
        async with asyncio.timeout(30):
            await posts.heard.wait()
        await asyncio.sleep(rng.uniform(*KILL_AFTER_SECONDS))
        processes = family(server.pid)
        server.kill()
        in_flight = len(posts.in_flight)
        await asyncio.gather(*clients)
    orphans = survivors(processes | carrying(mark))
    return _Shot(in_flight, len(processes), len(orphans))


async def _client(
    session: aiohttp.ClientSession, posts: _Posts, bodies: Iterator[dict[str, Any]]
) -> None:
    """Post one body after the other until the connection breaks."""
    for body in bodies:
        posts.bodies[body["id"]] = body
        posts.in_flight.add(body["id"])
        try:
            await _post(session, posts, body)
        except aiohttp.ClientError:
            return
        finally:
            posts.in_flight.discard(body["id"])


async def _post(session: aiohttp.ClientSession, posts: _Posts, body: dict[str, Any]) -> None:
    stored = await _json(session, "/v1/feedback", body)
    if stored["feedback_id"] != body["id"]:
        raise ValueError("the server stored the feedback under another id")
    posts.acknowledged.add(body["id"])
    posts.heard.set()


async def _send_again(server: ServerProcess, posts: _Posts) -> None:
    """Send the posts without a response again, with the same ids."""
    waiting = sorted(posts.bodies.keys() - posts.acknowledged)
    async with _session(server) as session:
        await asyncio.gather(*(_post(session, posts, posts.bodies[name]) for name in waiting))


def _session(server: ServerProcess) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        server.url,
        connector=aiohttp.TCPConnector(limit=0),
        headers=server.headers,
        timeout=aiohttp.ClientTimeout(total=60),
        raise_for_status=True,
    )


async def _json(session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> Any:
    async with session.post(path, json=body) as response:
        return await response.json()


def _look(store: LogStore, posts: _Posts, sent: set[str], shot: _Shot) -> Kill:
    stored = store.feedback()
    acknowledged = sent & posts.acknowledged
    return Kill(
        sent=len(sent),
        in_flight=shot.in_flight,
        acknowledged=len(acknowledged),
        kept=len((sent - acknowledged) & stored.keys()),
        lost=len(posts.acknowledged - stored.keys()),
        processes=shot.processes,
        orphans=shot.orphans,
    )


def _outcome(store: LogStore, posts: _Posts, kills: list[Kill]) -> Outcome:
    stored = store.feedback()
    return Outcome(
        kills=kills,
        sent=len(posts.bodies),
        stored=stored.total(),
        missing=len(posts.bodies.keys() - stored.keys()),
        doubled=sum(1 for rows in stored.values() if rows > 1),
        invented=len(stored.keys() - posts.bodies.keys()),
    )


def row(outcome: Outcome, *, database: str, engine: str) -> Row:
    """The result as one row."""
    in_flight = [kill.in_flight for kill in outcome.kills]
    return {
        "database": database,
        "engine": engine,
        "kills": len(outcome.kills),
        "posts in flight at the kill (least / most)": f"{min(in_flight)} / {max(in_flight)}",
        "posts": outcome.sent,
        "acknowledged before a kill": sum(kill.acknowledged for kill in outcome.kills),
        "stored but not acknowledged": sum(kill.kept for kill in outcome.kills),
        "acknowledged and lost": sum(kill.lost for kill in outcome.kills),
        "missing after the retry": outcome.missing,
        "doubled": outcome.doubled,
        "processes killed": sum(kill.processes for kill in outcome.kills),
        "orphans": sum(kill.orphans for kill in outcome.kills),
    }


def measure(
    *, kills: int, seed: int, database: DatabaseKind, engine: str = "fake"
) -> tuple[Row, bool]:
    """Kill a new server in a new folder; return the result as a row, and whether it is good."""
    with tempfile.TemporaryDirectory(prefix="pawl-durability-") as name:
        folder = Path(name)
        model = _tiny_model(folder / "model") if engine == "vllm" else None
        outcome = asyncio.run(
            run(folder, kills=kills, rng=random.Random(seed), database=database, model=model)
        )
    return row(outcome, database=database, engine=engine), outcome.good


def _tiny_model(folder: Path) -> Path:
    from tests.tiny_model import make_tiny_model  # noqa: PLC0415  (imports torch)

    return make_tiny_model(folder)


def main() -> None:
    """Print the table; exit with 1 if something was lost or stored twice."""
    made = parser(__doc__)
    made.add_argument("--kills", type=int, default=20)
    made.add_argument("--database", choices=DATABASES, default="sqlite")
    made.add_argument("--engine", choices=("fake", "vllm"), default="fake")
    arguments = made.parse_args()
    found, good = measure(
        kills=arguments.kills,
        seed=arguments.seed,
        database=arguments.database,
        engine=arguments.engine,
    )
    report({"Durable feedback under kill -9": [found]}, as_json=arguments.json)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
