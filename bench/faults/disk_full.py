"""A full disk under load: `python -m bench.faults.disk_full [--rounds 10]`.

The server's data folder is on a small disk of its own. Clients chat and rate; the disk is filled
until feedback is refused, stays full for a while, and is emptied. No chat may fail; feedback must
be either durable or refused with 503 and Retry-After; no file may be damaged; and every
acknowledged row must be there at the end, once. It runs twice: with SQLite on that disk, so that
database and spool are both full, and with a stopped PostgreSQL, so that only the spool is left.
"""

import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import aiohttp

from bench.faults.full_disks import SmallDisk, small_disk
from bench.faults.outages import Breakable, breakable_postgres, breakable_sqlite
from bench.support.chat import ask, session_of
from bench.support.servers import ServerProcess, start_pawl, stopping
from bench.support.tables import Row, parser, report

DISK_MEBIBYTES = 24
CLIENTS = 8
PAUSE_SECONDS = 0.02
COMMENT = "The oak bench stands where it stood. " * 200
UNAVAILABLE = 503
RECOVERY_SECONDS = 60.0


@dataclass(slots=True)
class Round:
    """One period with a full disk."""

    chats: int = 0
    failed_chats: int = 0
    refused: int = 0
    wrong_refusals: int = 0
    recovered: float = 0.0


@dataclass(slots=True)
class Outcome:
    """All rounds on one database, and its contents at the end."""

    database: str
    disk: str
    seconds: float
    rounds: list[Round] = field(default_factory=list)
    answered: int = 0
    acknowledged: int = 0
    missing: int = 0
    doubled: int = 0
    damaged: int = 0

    @property
    def good(self) -> bool:
        """Whether nothing failed, was lost, doubled or damaged, and each round filled the disk."""
        bad = self.missing + self.doubled + self.damaged
        bad += sum(one.failed_chats + one.wrong_refusals for one in self.rounds)
        return not bad and all(one.refused for one in self.rounds)


@dataclass(slots=True)
class _Traffic:
    round: Round
    answered: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    ended: bool = False


async def run(
    server: ServerProcess, database: Breakable, disk: SmallDisk, *, rounds: int, seconds: float
) -> Outcome:
    """Fill the disk `rounds` times; keep it full for `seconds` once feedback is refused."""
    outcome = Outcome(database.name, "tmpfs" if disk.mounted else "size limit", seconds)
    away = next((fault for fault in database.faults if fault.name == "stopped"), None)
    async with session_of(server) as session:
        traffic, numbers = _Traffic(Round()), count()
        clients = [
            *(asyncio.create_task(_rater(session, traffic, numbers)) for _ in range(CLIENTS)),
            *(asyncio.create_task(_chatter(session, traffic)) for _ in range(CLIENTS)),
        ]
        await asyncio.sleep(0.5)
        for number in range(rounds):
            traffic.round = Round()
            await asyncio.to_thread(away.begin if away else nullcontext)
            await asyncio.to_thread(disk.fill, server.pid)
            while not traffic.round.refused:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(disk.free, server.pid)
            await _recovered(traffic)
            await asyncio.to_thread(away.end if away else nullcontext)
            await _caught_up(session)
            outcome.rounds.append(traffic.round)
            print(f"{database.name}: {number + 1} of {rounds}, {traffic.round}", file=sys.stderr)
        traffic.ended = True
        await asyncio.gather(*clients)
        await _caught_up(session)
    _look(database, traffic, outcome)
    return outcome


def _look(database: Breakable, traffic: _Traffic, outcome: Outcome) -> None:
    """Compare the acknowledged feedback and the answered chats with the database."""
    stored, answers = database.count("feedback"), database.count("interaction")
    outcome.answered = len(traffic.answered)
    outcome.acknowledged = len(traffic.acknowledged)
    outcome.missing = len(traffic.acknowledged - stored.keys())
    outcome.missing += len(traffic.answered - answers.keys())
    outcome.doubled = sum(1 for rows in (stored + answers).values() if rows > 1)


async def _chatter(session: aiohttp.ClientSession, traffic: _Traffic) -> None:
    while not traffic.ended:
        await _chat(session, traffic)
        await asyncio.sleep(PAUSE_SECONDS)


async def _rater(session: aiohttp.ClientSession, traffic: _Traffic, numbers: "count[int]") -> None:
    """Chat, and send a rating of the answer until it is acknowledged."""
    while not traffic.ended:
        feedback = {
            "id": f"post-{next(numbers)}",
            "inference_id": await _chat(session, traffic),
            "metric_name": "comment",
            "value": COMMENT,
        }
        while not await _acknowledged(session, traffic, feedback):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        traffic.acknowledged.add(feedback["id"])
        await asyncio.sleep(PAUSE_SECONDS)


async def _chat(session: aiohttp.ClientSession, traffic: _Traffic) -> str:
    now, message = traffic.round, {"role": "user", "content": "When do the tomatoes ripen?"}
    reply = await ask(session, {"model": "pawl", "messages": [message]})
    now.chats += 1
    now.failed_chats += not reply.good
    traffic.answered.add(reply.id)
    return reply.id


async def _acknowledged(
    session: aiohttp.ClientSession, traffic: _Traffic, feedback: dict[str, str]
) -> bool:
    async with session.post("/v1/feedback", json=feedback) as response:
        if response.ok:
            return True
        traffic.round.refused += 1
        told = response.status == UNAVAILABLE and "retry-after" in response.headers
        traffic.round.wrong_refusals += not told
        return False


async def _recovered(traffic: _Traffic) -> None:
    """Wait until feedback is acknowledged again."""
    began, known = time.monotonic(), len(traffic.acknowledged)
    async with asyncio.timeout(RECOVERY_SECONDS):
        while len(traffic.acknowledged) <= known:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    traffic.round.recovered = time.monotonic() - began


async def _caught_up(session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            async with session.get("/health/ready") as response:
                if (await response.json())["database"] == "ok":
                    return
            await asyncio.sleep(0.1)


def damaged(data_dir: Path) -> list[str]:
    """Return the SQLite files in which `PRAGMA integrity_check` finds damage."""
    found = []
    for file in sorted(data_dir.rglob("*.db*")):
        if file.suffix == ".db":
            with closing(sqlite3.connect(file)) as connection:
                if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                    found.append(file.name)
        elif "damaged" in file.name:
            found.append(file.name)
    return found


async def measure(
    folder: Path, *, databases: Sequence[str], rounds: int, seconds: float
) -> list[Outcome]:
    """One outcome for each database."""
    return [
        await _measure(folder / name, name, rounds=rounds, seconds=seconds) for name in databases
    ]


async def _measure(folder: Path, name: str, *, rounds: int, seconds: float) -> Outcome:
    disk_folder = folder / "disk"
    disk_folder.mkdir(parents=True)
    data_dir = disk_folder / "data"
    with (
        small_disk(disk_folder, DISK_MEBIBYTES) as disk,
        breakable_sqlite(data_dir) if name == "sqlite" else breakable_postgres() as database,
    ):
        settings = {"PAWL_RETRAIN__ENABLED": "false", **database.settings}
        data_dir.mkdir()
        started = start_pawl(data_dir, settings=settings, log=folder / "server.log")
        with stopping(started) as server:
            outcome = await run(server, database, disk, rounds=rounds, seconds=seconds)
        outcome.damaged = len(damaged(data_dir))
        return outcome


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """One row for each database."""
    return [
        {
            "database": outcome.database,
            "disk": outcome.disk,
            "times full": f"{len(outcome.rounds)} x {outcome.seconds:g} s",
            "chats meanwhile": sum(one.chats for one in outcome.rounds),
            "failed": sum(one.failed_chats for one in outcome.rounds),
            "feedback told 503": sum(one.refused for one in outcome.rounds),
            "told anything else": sum(one.wrong_refusals for one in outcome.rounds),
            "answers and acknowledged feedback": outcome.answered + outcome.acknowledged,
            "lost": outcome.missing,
            "doubled": outcome.doubled,
            "damaged files": outcome.damaged,
            "taken again after s (worst)": max(one.recovered for one in outcome.rounds),
        }
        for outcome in outcomes
    ]


def main() -> None:
    """Print the table; exit with 1 if something failed or was lost or damaged."""
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, default=10)
    made.add_argument("--seconds", type=float, default=5)
    made.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    arguments = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="pawl-full-") as folder:
        outcomes = asyncio.run(
            measure(
                Path(folder),
                databases=arguments.databases,
                rounds=arguments.rounds,
                seconds=arguments.seconds,
            )
        )
    report({"The disk full under load": rows(outcomes)}, as_json=arguments.json)
    raise SystemExit(0 if all(outcome.good for outcome in outcomes) else 1)


if __name__ == "__main__":
    main()
