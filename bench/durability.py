"""Kills Pawl while feedback pours in: `python -m bench.durability [--kills 20]`.

Clients post feedback, each with an id of its own, in a closed loop. At a random instant the server
is killed with SIGKILL, started again on the same data, and every post that had no answer is sent
again with the same id. Then each acknowledged post must be in the log, and each id once.

The engine is the fake one: what is tested is the way of the feedback, not of the answers.
"""

import asyncio
import random
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from bench.servers import ServerProcess, start_pawl
from bench.tables import Row, parser, report

CLIENTS = 80
LEAST_IN_FLIGHT = 50
INTERACTIONS = 20
KILL_AFTER_SECONDS = (0.05, 0.8)
"""After the first acknowledgement; the instant is drawn uniformly."""


@dataclass(frozen=True, slots=True)
class Kill:
    """What one kill met and left; rows were counted before anything was sent again.

    `sent` counts posts by id. `kept` were stored, though the client never heard of it.
    """

    sent: int
    in_flight: int
    acknowledged: int
    kept: int
    lost: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """All kills, and what the log held at the end."""

    kills: list[Kill]
    sent: int
    stored: int
    missing: int
    doubled: int
    invented: int

    @property
    def good(self) -> bool:
        """Whether nothing acknowledged was lost and nothing doubled, with enough in flight."""
        busy = all(kill.in_flight >= LEAST_IN_FLIGHT for kill in self.kills)
        lost = sum(kill.lost for kill in self.kills)
        return busy and not (lost or self.missing or self.doubled or self.invented)


@dataclass(slots=True)
class _Posts:
    """What was sent, by the client's id."""

    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    in_flight: set[str] = field(default_factory=set)
    heard: asyncio.Event = field(default_factory=asyncio.Event)


async def run(folder: Path, *, kills: int, rng: random.Random) -> Outcome:
    """Kill the server `kills` times; what it keeps lies in `folder`."""
    data_dir = folder / "data"
    posts, done, ids = _Posts(), [], count()
    server = start_pawl(data_dir)
    try:
        rated = await _interactions(server)
        for _ in range(kills):
            before = set(posts.bodies)
            in_flight = await _until_killed(server, posts, _bodies(ids, rated), rng)
            server = start_pawl(data_dir)
            done.append(_look(data_dir, posts, set(posts.bodies) - before, in_flight))
            await _send_again(server, posts)
    finally:
        server.stop()
    return _outcome(data_dir, posts, done)


async def _interactions(server: ServerProcess) -> list[str]:
    """Ids that can be rated."""
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
) -> int:
    """Post without a pause until the server is dead; how many posts then waited for an answer."""
    posts.heard.clear()
    async with _session(server) as session:
        clients = [asyncio.create_task(_client(session, posts, bodies)) for _ in range(CLIENTS)]
        async with asyncio.timeout(30):
            await posts.heard.wait()
        await asyncio.sleep(rng.uniform(*KILL_AFTER_SECONDS))
        server.kill()
        in_flight = len(posts.in_flight)
        await asyncio.gather(*clients)
    return in_flight


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
    """Send what had no answer again, with the same ids."""
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


def _stored(data_dir: Path) -> Counter[str]:
    """How many rows of feedback the log holds, by the client's id."""
    address = f"file:{data_dir / 'pawl.db'}?mode=ro"
    with closing(sqlite3.connect(address, uri=True)) as database:
        return Counter(identifier for (identifier,) in database.execute("SELECT id FROM feedback"))


def _look(data_dir: Path, posts: _Posts, sent: set[str], in_flight: int) -> Kill:
    stored = _stored(data_dir)
    acknowledged = sent & posts.acknowledged
    return Kill(
        sent=len(sent),
        in_flight=in_flight,
        acknowledged=len(acknowledged),
        kept=len((sent - acknowledged) & stored.keys()),
        lost=len(posts.acknowledged - stored.keys()),
    )


def _outcome(data_dir: Path, posts: _Posts, kills: list[Kill]) -> Outcome:
    stored = _stored(data_dir)
    return Outcome(
        kills=kills,
        sent=len(posts.bodies),
        stored=stored.total(),
        missing=len(posts.bodies.keys() - stored.keys()),
        doubled=sum(1 for rows in stored.values() if rows > 1),
        invented=len(stored.keys() - posts.bodies.keys()),
    )


def rows(outcome: Outcome) -> list[Row]:
    """The result as one row."""
    in_flight = [kill.in_flight for kill in outcome.kills]
    return [
        {
            "kills": len(outcome.kills),
            "posts in flight at the kill (least / most)": f"{min(in_flight)} / {max(in_flight)}",
            "posts": outcome.sent,
            "acknowledged before a kill": sum(kill.acknowledged for kill in outcome.kills),
            "stored but not acknowledged": sum(kill.kept for kill in outcome.kills),
            "acknowledged and lost": sum(kill.lost for kill in outcome.kills),
            "missing after the retry": outcome.missing,
            "doubled": outcome.doubled,
        }
    ]


def main() -> None:
    """Print the table; the exit status is 1 when something was lost or doubled."""
    made = parser(__doc__)
    made.add_argument("--kills", type=int, default=20)
    arguments = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="pawl-durability-") as folder:
        outcome = asyncio.run(
            run(Path(folder), kills=arguments.kills, rng=random.Random(arguments.seed))
        )
    report({"Durable feedback under kill -9": rows(outcome)}, as_json=arguments.json)
    raise SystemExit(0 if outcome.good else 1)


if __name__ == "__main__":
    main()
