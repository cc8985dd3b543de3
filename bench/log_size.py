"""Times of queries on a large log: `python -m bench.log_size [--interactions 100000 1500000]`.

Creates a log in a SQLite file, with a fifth of its interactions rated, and times queries that once
scanned a whole table: the answers of a batch of pairs, the writer's statements for a report with a
run id and for a rating with a client's id, and a dry run of the weekly run. `before` is the time on
an idle machine before the scans were removed. Each time is the minimum of several, except for the
dry run, which also shows its processor time.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection

from bench.support.tables import Row, parser, report
from bench.workloads.grown_log import CHANNEL, FINGERPRINT, IDS, TENANT, GrownLog, grow
from feedback.reading.judgement_queries import answers_of
from feedback.records import ChoiceRecord, FeedbackRecord, InteractionRecord
from feedback.repository import write_feedback, write_interactions
from retrain.config import RetrainConfig
from retrain.dataset.snapshot import About, PairLog, freeze
from server.database.database import Database, sqlite_url

TRIES = 20
SIZES = (100_000, 1_500_000)
BEFORE: dict[str, dict[int, str]] = {
    "answers of 100 pairs' interactions": {100_000: "194 ms", 1_500_000: "2,025 ms"},
    "writer: a report with a run id": {100_000: "84 ms", 1_500_000: "458 ms"},
    "writer: a rating with the client's id": {100_000: "13 ms (67,000 ratings)"},
    "dry run": {100_000: "86 s"},
}


async def least(database: Database, work: Callable[[Connection, int], object]) -> float:
    """Return the minimum milliseconds of `work` in a transaction, without the sync."""
    times: list[float] = []

    def timed(connection: Connection) -> None:
        began = time.perf_counter()
        work(connection, len(times))
        times.append(time.perf_counter() - began)

    for _ in range(TRIES):
        await database.transaction(timed)
    return min(times) * 1000


async def measure(interactions: int, seed: int) -> list[Row]:
    """Time everything on a new log of that many interactions."""
    with tempfile.TemporaryDirectory(prefix="pawl-bench-") as folder:
        log = await grow(Path(folder) / "pawl.db", interactions, seed)
        database = Database(sqlite_url(log.path))
        await database.renew_statistics()
        try:
            figures = {
                "answers of 100 pairs' interactions": f"{await _answers(database, log):.2f} ms",
                "writer: a report with a run id": f"{await _reports(database, log):.2f} ms",
                "writer: a rating with the client's id": f"{await _ratings(database, log):.2f} ms",
                "dry run": await _dry_run(database, log, Path(folder)),
            }
        finally:
            await database.close()
    return [
        {
            "interactions": f"{interactions:,}",
            "what": what,
            "before": BEFORE[what].get(interactions, "not measured"),
            "now": figure,
        }
        for what, figure in figures.items()
    ]


async def _answers(database: Database, log: GrownLog) -> float:
    query = answers_of(sorted(log.judged))
    return await least(database, lambda at, _: at.execute(query).all())


async def _reports(database: Database, log: GrownLog) -> float:
    asked = _report(log)

    def write(connection: Connection, number: int) -> object:
        run, identifier = f"new run {number}", IDS.new("cmpl", TENANT, log.now)
        return write_interactions(connection, [replace(asked, id=identifier, run_id=run)])

    return await least(database, write)


def _report(log: GrownLog) -> InteractionRecord:
    return InteractionRecord(
        id="",
        received_at=log.now,
        tenant=TENANT,
        channel=CHANNEL,
        endpoint="completion",
        mode="external",
        role="pinned",
        requested_model="other",
        model="other",
        version=None,
        conversation="c" * 32,
        thread="t" * 32,
        request={"prompt": "hi"},
        choices=[ChoiceRecord(0, "ho")],
        status="complete",
    )


async def _ratings(database: Database, log: GrownLog) -> float:
    def write(connection: Connection, number: int) -> object:
        rating = FeedbackRecord(
            tenant=TENANT,
            id=f"the client's {number}",
            received_at=log.now,
            interaction_id=log.judged[0],
            choice=0,
            metric_name="rating",
            value=4,
            rater=None,
            source="HUMAN",
            rationale=None,
            tags={},
            key_id=None,
            digest=f"{number:032x}",
        )
        return write_feedback(connection, [rating])

    return await least(database, write)


async def _dry_run(database: Database, log: GrownLog, folder: Path) -> str:
    """Freeze a run's training data, as `pawl retrain --dry-run` does."""
    since = log.now.replace(year=log.now.year - 1)
    about = About(
        run="bench",
        channel=CHANNEL,
        tenants=frozenset({TENANT}),
        since=since,
        asked_since=since,
        cut_off=log.now,
        base_model="bench",
        parent=None,
    )
    config = RetrainConfig()
    began, busy = time.perf_counter(), time.process_time()
    pairs = PairLog(database, about, config, FINGERPRINT)
    manifest = await freeze(folder / "snapshot", about, pairs, config)
    took, worked = time.perf_counter() - began, time.process_time() - busy
    return f"{took:.1f} s ({worked:.1f} s of the processor, {manifest.pairs:,} pairs)"


async def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--interactions", type=int, nargs="+", default=list(SIZES))
    chosen = arguments.parse_args()
    rows = [row for size in chosen.interactions for row in await measure(size, chosen.seed)]
    report({"The log at size (SQLite)": rows}, as_json=chosen.json)


if __name__ == "__main__":
    asyncio.run(main())
