"""Database outages under load: `python -m bench.faults.database_away [--outages 20]`.

Clients chat and rate without a pause while the database is repeatedly locked (SQLite), stopped or
paused (PostgreSQL) for a minute. No chat may fail. Every acknowledged row must be in the database
at the end, once, and each rater's latest rating must still be the latest. A rating that gets 503 is
sent again with the same id, as docs/api.md says.

The engine is the fake one, since the log is tested, not the answers.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from bench.faults.outages import Breakable, Fault, breakable_postgres, breakable_sqlite
from bench.support.chat import ask, session_of
from bench.support.servers import ServerProcess, start_pawl, stopping
from bench.support.stats import percentile
from bench.support.tables import Row, parser, report

CLIENTS = 16
SUBJECTS = 8
PAUSE_SECONDS = 0.04
"""Seconds between two requests of a client; gives about 400 requests a second in total."""
CALM_SECONDS = 5.0
"""Maximum seconds without an outage before each one, for comparison."""
AGAIN_SECONDS = 0.5
CATCH_UP_SECONDS = 300.0
UNAVAILABLE = 503


@dataclass(slots=True)
class Outage:
    """The effect of one outage on the clients. Times are in seconds."""

    fault: str
    chats: list[float] = field(default_factory=list)
    failed_chats: int = 0
    ratings: list[float] = field(default_factory=list)
    refused_ratings: int = 0
    spooled: int = 0
    caught_up: float = 0.0


@dataclass(slots=True)
class Outcome:
    """All outages of one database, and its contents at the end."""

    database: str
    seconds: float
    outages: list[Outage] = field(default_factory=list)
    calm: Outage = field(default_factory=lambda: Outage("none"))
    failed_chats: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    wrong_last_words: int = 0
    out_of_order: int = 0
    left_in_spool: int = 0

    @property
    def good(self) -> bool:
        """Whether nothing failed, was lost or stored twice, and the order was kept."""
        bad = self.failed_chats + self.lost + self.doubled + self.left_in_spool
        return not (bad or self.wrong_last_words or self.out_of_order) and all(
            outage.spooled for outage in self.outages
        )


@dataclass(slots=True)
class _Traffic:
    """The clients' requests. `said` has the acknowledged ids in order, by rater."""

    outage: Outage
    failed_chats: int = 0
    answered: list[str] = field(default_factory=list)
    said: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    ended: bool = False


async def run(
    server: ServerProcess, database: Breakable, *, outages: int, seconds: float
) -> Outcome:
    """Make the database unavailable `outages` times for `seconds` each."""
    outcome = Outcome(database.name, seconds)
    async with session_of(server) as session:
        subjects = [(await _chat(session)).id for _ in range(SUBJECTS)]
        traffic = _Traffic(outcome.calm)
        clients = [
            asyncio.create_task(client(session, traffic, subjects, number))
            for number in range(CLIENTS)
        ]
        for number in range(outages):
            fault = database.faults[number % len(database.faults)]
            await asyncio.sleep(min(CALM_SECONDS, seconds))
            outage = await _take_away(session, traffic, fault, seconds)
            traffic.outage = outcome.calm
            outcome.outages.append(outage)
            _say(f"{database.name} {fault.name}: {number + 1} of {outages}, {_summary(outage)}")
        traffic.ended = True
        await asyncio.gather(*clients)
        await _caught_up(session)
        outcome.left_in_spool = int((await _metrics(session))["pawl_spool_rows"])
    _look(database, traffic, outcome)
    return outcome


async def _take_away(
    session: aiohttp.ClientSession, traffic: _Traffic, fault: Fault, seconds: float
) -> Outage:
    before = await _spooled(session)
    outage = traffic.outage = Outage(fault.name)
    await asyncio.to_thread(fault.begin)
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(fault.end)
    began = time.monotonic()
    await _caught_up(session)
    outage.caught_up = time.monotonic() - began
    outage.spooled = await _spooled(session) - before
    return outage


async def client(
    session: aiohttp.ClientSession, traffic: _Traffic, subjects: Sequence[str], number: int
) -> None:
    """Alternate between a chat and a new rating of one answer until the end."""
    rater = f"rater-{number}"
    for word in count():
        if traffic.ended:
            return
        began, outage = time.monotonic(), traffic.outage
        reply = await _chat(session, stream=bool(word % 2))
        outage.chats.append(time.monotonic() - began)
        if reply.good:
            traffic.answered.append(reply.id)
        else:
            outage.failed_chats += 1
            traffic.failed_chats += 1
        await asyncio.sleep(PAUSE_SECONDS)
        subject = subjects[word % len(subjects)]
        identifier = f"{rater}-{word:06}"
        await _rate(session, traffic, rater, subject, identifier, word % 5 + 1)
        traffic.said.setdefault((rater, subject), []).append(identifier)
        await asyncio.sleep(PAUSE_SECONDS)


async def _chat(session: aiohttp.ClientSession, *, stream: bool = False) -> Any:
    message = {"role": "user", "content": "When do the tomatoes ripen?"}
    return await ask(session, {"model": "pawl", "messages": [message], "stream": stream})


async def _rate(
    session: aiohttp.ClientSession,
    traffic: _Traffic,
    rater: str,
    subject: str,
    identifier: str,
    value: int,
) -> None:
    """Send the rating until it is acknowledged."""
    rating = {"id": identifier, "inference_id": subject, "rater": rater}
    rating |= {"metric_name": "rating", "value": value}  # type: ignore[dict-item]
    while True:
        began, outage = time.monotonic(), traffic.outage
        async with session.post("/v1/feedback", json=rating) as response:
            if response.status == UNAVAILABLE and "retry-after" in response.headers:
                outage.refused_ratings += 1
            else:
                response.raise_for_status()
                outage.ratings.append(time.monotonic() - began)
                return
        await asyncio.sleep(AGAIN_SECONDS)


async def _metrics(session: aiohttp.ClientSession) -> dict[str, float]:
    async with session.get("/metrics") as response:
        lines = (await response.text()).splitlines()
    values = (line.rsplit(" ", 1) for line in lines if line.startswith("pawl_"))
    return {name: float(value) for name, value in values}


async def _spooled(session: aiohttp.ClientSession) -> int:
    return int((await _metrics(session))["pawl_spooled_rows_total"])


async def _caught_up(session: aiohttp.ClientSession) -> None:
    """Wait until the server reports an empty spool."""
    async with asyncio.timeout(CATCH_UP_SECONDS):
        while True:
            async with session.get("/health/ready") as response:
                if (await response.json())["database"] == "ok":
                    return
            await asyncio.sleep(0.1)


def _look(database: Breakable, traffic: _Traffic, outcome: Outcome) -> None:
    """Compare the acknowledged rows with those in the database."""
    said = [identifier for words in traffic.said.values() for identifier in words]
    stored, answered = database.count("feedback"), database.count("interaction")
    outcome.failed_chats = traffic.failed_chats
    outcome.acknowledged = len(said) + len(traffic.answered)
    outcome.lost = len(set(said) - stored.keys()) + len(set(traffic.answered) - answered.keys())
    outcome.doubled = sum(1 for rows in (stored + answered).values() if rows > 1)
    held: dict[tuple[str, str], list[str]] = {}
    ordered = "SELECT rater, interaction_id, id FROM feedback ORDER BY received_at, id"
    for rater, subject, identifier in database.query(ordered):
        held.setdefault((rater, subject), []).append(identifier)
    for place, words in traffic.said.items():
        outcome.wrong_last_words += held[place][-1:] != words[-1:]
        outcome.out_of_order += held[place] != words


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """Return one row for each kind of outage of each database, and one for the times between."""
    return [
        _row(outcome, fault)
        for outcome in outcomes
        for fault in ("none", *dict.fromkeys(outage.fault for outage in outcome.outages))
    ]


def _row(outcome: Outcome, fault: str) -> Row:
    outages = [outage for outage in (outcome.calm, *outcome.outages) if outage.fault == fault]
    chats = [seconds for outage in outages for seconds in outage.chats]
    ratings = [seconds for outage in outages for seconds in outage.ratings]
    return {
        "database": outcome.database,
        "fault": fault,
        "outages": f"{len(outages)} x {outcome.seconds:g} s" if fault != "none" else "between them",
        "chats meanwhile": len(chats),
        "failed": sum(outage.failed_chats for outage in outages),
        "chat p99 / slowest ms": f"{percentile(chats, 0.99) * 1000:.0f} / {max(chats) * 1000:.0f}",
        "ratings acknowledged": len(ratings),
        "told 503, then sent again": sum(outage.refused_ratings for outage in outages),
        "rating p99 / slowest ms": (
            f"{percentile(ratings, 0.99) * 1000:.0f} / {max(ratings) * 1000:.0f}"
        ),
        "rows spooled": sum(outage.spooled for outage in outages),
        "caught up after s (worst)": max(outage.caught_up for outage in outages),
    }


def totals(outcomes: Sequence[Outcome]) -> list[Row]:
    """Return the contents of each database at the end."""
    return [
        {
            "database": outcome.database,
            "acknowledged rows": outcome.acknowledged,
            "lost": outcome.lost,
            "doubled": outcome.doubled,
            "left in the spool": outcome.left_in_spool,
            "last words that do not count": outcome.wrong_last_words,
            "raters' words out of order": outcome.out_of_order,
            "failed chats, all in all": outcome.failed_chats,
        }
        for outcome in outcomes
    ]


def _summary(outage: Outage) -> str:
    return (
        f"{len(outage.chats)} chats, {outage.failed_chats} failed, {outage.refused_ratings} times "
        f"503, {outage.spooled} rows spooled, caught up after {outage.caught_up:.1f} s"
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def measure(
    folder: Path, *, databases: Sequence[str], outages: int, seconds: float
) -> list[Outcome]:
    """Return one outcome for each database, with `outages` outages each."""
    outcomes = []
    for name in databases:
        data_dir = folder / name / "data"
        data_dir.mkdir(parents=True)
        with _database(name, data_dir) as database:
            settings = {"PAWL_RETRAIN__ENABLED": "false", **database.settings}
            with stopping(start_pawl(data_dir, settings=settings)) as server:
                outcomes.append(await run(server, database, outages=outages, seconds=seconds))
    return outcomes


@contextmanager
def _database(name: str, data_dir: Path) -> Iterator[Breakable]:
    with breakable_sqlite(data_dir) if name == "sqlite" else breakable_postgres() as database:
        yield database


def main() -> None:
    """Print the tables; exit with 1 if something failed or was lost."""
    made = parser(__doc__)
    made.add_argument("--outages", type=int, default=20, help="half of them on each database")
    made.add_argument("--seconds", type=float, default=60)
    made.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    arguments = made.parse_args()
    each = -(-arguments.outages // len(arguments.databases))
    with tempfile.TemporaryDirectory(prefix="pawl-away-") as folder:
        outcomes = asyncio.run(
            measure(
                Path(folder), databases=arguments.databases, outages=each, seconds=arguments.seconds
            )
        )
    tables = {
        "The database away under load": rows(outcomes),
        "The log after all outages": totals(outcomes),
    }
    report(tables, as_json=arguments.json)
    raise SystemExit(0 if all(outcome.good for outcome in outcomes) else 1)


if __name__ == "__main__":
    main()
