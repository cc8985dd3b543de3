"""What a row of the log costs on each database: `python -m bench.databases [--rows 20000]`.

The recorder writes interactions with one choice as the server does, 64 concurrently. The processor
time is that of this process with all its threads; PostgreSQL's own is shown beside it. Writes are
synced to disk, so the rate depends on the disk as much as on the database.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.support.log_stores import DATABASES, DatabaseKind
from bench.support.postgres import PostgresServer, running_postgres
from bench.support.stats import percentile
from bench.support.tables import Row, parser, report
from feedback.config import FeedbackConfig
from feedback.ids import InteractionIds
from feedback.ports import RecorderObserver
from feedback.recorder.recorder import Recorder
from feedback.records import ChoiceRecord, InteractionRecord
from server.database.database import Database, sqlite_url
from server.database.migrate import upgrade

WAITING = 64
WARM_UP = 2_000
PROMPT, ANSWER = list(range(400)), list(range(150))
TEXT = "The slugs leave some of them in August. " * 15
TENANT = "default"


@dataclass(frozen=True, slots=True)
class Cost:
    """One database: rows a second, waits in milliseconds, processor time in microseconds a row."""

    rows_per_second: float
    median_ms: float
    p99_ms: float
    processor_us: float
    its_own_us: float | None


def interaction(ids: InteractionIds) -> InteractionRecord:
    """Return a request of ordinary size."""
    now = datetime.now(UTC)
    request = {"model": "pawl", "messages": [{"role": "user", "content": TEXT}]}
    return InteractionRecord(
        id=ids.new("chatcmpl", TENANT, now),
        received_at=now,
        tenant=TENANT,
        channel="pawl",
        endpoint="chat",
        mode="live",
        role="live",
        requested_model="pawl",
        model="pawl@base",
        version="base",
        conversation="c" * 32,
        thread="t" * 32,
        request=request,
        prompt_token_ids=PROMPT,
        choices=[ChoiceRecord(0, TEXT, token_ids=ANSWER, finish_reason="stop")],
        status="complete",
    )


async def measure(kind: DatabaseKind, rows: int) -> Cost:
    """Write `rows` rows to a new database."""
    with _new(kind) as (url, server):
        await upgrade(url)
        database = Database(url)
        recorder = Recorder(database, FeedbackConfig(), RecorderObserver())
        await recorder.start()
        await _record(recorder, WARM_UP)
        began, ours, its = time.perf_counter(), time.process_time(), _seconds_of(server)
        waits = await _record(recorder, rows)
        seconds = time.perf_counter() - began
        ours, its_end = time.process_time() - ours, _seconds_of(server)
        await recorder.close()
        await database.close()
    return Cost(
        rows_per_second=rows / seconds,
        median_ms=percentile(waits, 0.5) * 1e3,
        p99_ms=percentile(waits, 0.99) * 1e3,
        processor_us=ours / rows * 1e6,
        its_own_us=None if its is None or its_end is None else (its_end - its) / rows * 1e6,
    )


async def _record(recorder: Recorder, rows: int) -> list[float]:
    """Return the seconds that each row waited for its commit."""
    ids, waits = InteractionIds(b"a secret of the benchmark"), []

    async def one_after_the_other() -> None:
        for _ in range(rows // WAITING):
            record, began = interaction(ids), time.perf_counter()
            await recorder.record(record)
            waits.append(time.perf_counter() - began)

    await asyncio.gather(*(one_after_the_other() for _ in range(WAITING)))
    return waits


@contextmanager
def _new(kind: DatabaseKind) -> Iterator[tuple[str, PostgresServer | None]]:
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="pawl-databases-") as folder:
            yield sqlite_url(Path(folder) / "pawl.db"), None
        return
    with running_postgres() as server:
        yield server.url(), server


def _seconds_of(server: PostgresServer | None) -> float | None:
    return None if server is None else server.processor_seconds()


def rows(costs: dict[DatabaseKind, Cost]) -> list[Row]:
    """Return the result, one row for each database."""
    return [
        {
            "database": kind,
            "interactions/s": round(cost.rows_per_second),
            "commit p50 (ms)": round(cost.median_ms, 1),
            "commit p99 (ms)": round(cost.p99_ms, 1),
            "processor, Pawl (µs each)": round(cost.processor_us),
            "processor, PostgreSQL (µs each)": (
                "" if cost.its_own_us is None else round(cost.its_own_us)
            ),
        }
        for kind, cost in costs.items()
    ]


def main() -> None:
    """Print the table."""
    made = parser(__doc__)
    made.add_argument("--rows", type=int, default=20_000)
    arguments = made.parse_args()
    costs = {kind: asyncio.run(measure(kind, arguments.rows)) for kind in DATABASES}
    report({"A row of the log": rows(costs)}, as_json=arguments.json)


if __name__ == "__main__":
    main()
