"""Simulates ten years with three schedulers: `python -m bench.faults.schedule [--weeks 520]`.

Scenario 4 of the faults, on SQLite and on PostgreSQL: each slot that was due while any scheduler
ran must have exactly one run, despite clock jumps and dead owners (`bench.faults.scheduled_weeks`).
"""

import asyncio
import logging
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from bench.faults.scheduled_weeks import Outcome, live_through, weeks
from bench.support.log_stores import DATABASES, DatabaseKind
from bench.support.postgres import UNSYNCED, running_postgres
from bench.support.tables import Row, parser, report
from server.database.database import Database, sqlite_url
from server.database.migrate import upgrade

TITLE = "Three schedulers, clock jumps and dead owners: one run a slot"
SCHEDULERS = 3


def measure(*, count: int, seed: int) -> tuple[list[Row], bool]:
    """Return one row for each database, and whether all are good."""
    rows, good = [], True
    for database in DATABASES:
        print(f"{count} weeks on {database}", file=sys.stderr, flush=True)
        began = time.perf_counter()
        outcome = run(database, count=count, seed=seed)
        rows.append(_row(database, outcome, time.perf_counter() - began))
        print(rows[-1], file=sys.stderr, flush=True)
        good &= outcome.good
    return rows, good


def run(database: DatabaseKind, *, count: int, seed: int) -> Outcome:
    """Simulate `count` weeks on a new database."""
    with (
        tempfile.TemporaryDirectory(prefix="pawl-schedule-") as folder,
        _address(database, Path(folder)) as url,
    ):
        return asyncio.run(_run(url, Path(folder), count, seed))


@contextmanager
def _address(database: DatabaseKind, folder: Path) -> Iterator[str]:
    """Yield the URL of an empty database; PostgreSQL need not sync, since nothing is killed."""
    if database == "sqlite":
        yield sqlite_url(folder / "pawl.db")
    else:
        with running_postgres(UNSYNCED) as server:
            yield server.url()


async def _run(url: str, folder: Path, count: int, seed: int) -> Outcome:
    await upgrade(url)
    databases = [Database(url) for _ in range(SCHEDULERS)]
    try:
        moments = weeks(count, SCHEDULERS, random.Random(seed))
        return await live_through(databases, folder, moments)
    finally:
        for database in databases:
            await database.close()


def _row(database: DatabaseKind, outcome: Outcome, seconds: float) -> Row:
    return {
        "database": database,
        "schedulers": SCHEDULERS,
        "weeks": round(outcome.weeks),
        "ticks": outcome.ticks,
        "clock changes": outcome.jumps,
        "owners that died": outcome.deaths,
        "slots due": len(outcome.due | outcome.ended.keys()),
        "runs": outcome.ended.total(),
        "lost": outcome.lost,
        "doubled": outcome.doubled,
        "not ended": outcome.unended,
        "seconds": round(seconds),
    }


def main() -> None:
    """Print the table; exit with 1 if a slot had no run or two."""
    made = parser(__doc__)
    made.add_argument("--weeks", type=int, default=520)
    arguments = made.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    rows, good = measure(count=arguments.weeks, seed=arguments.seed)
    report({TITLE: rows}, as_json=arguments.json)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
