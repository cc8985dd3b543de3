"""Stops Pawl with open streams: `python -m bench.faults.sigterm [--times 50] [--real-times 5]`.

Thirty-two streams are open when the supervisor gets SIGTERM, at a random instant and with a random
deadline. Streams that do not finish in time must end with an error event. New requests must be
refused, the exit status must be 0, each stream must be in the log as its client saw it, and no
process may be left. It runs with the fake engine and with the real one.
"""

import asyncio
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench.support.chat import session_of
from bench.support.open_streams import End, OpenStream
from bench.support.servers import FAST, SUPERVISED, ServerProcess, start_pawl
from bench.support.stats import percentile
from bench.support.tables import Row, parser, report
from common.processes import family, running
from tests.tiny_model import make_tiny_model

STREAMS = 32
AFTER_SECONDS = (0.0, 1.5)
"""Seconds from the first event of the last stream to the signal, drawn uniformly."""
DRAIN_SECONDS = (0.2, 3.0)
EXIT_SECONDS = 60.0
_SETTINGS = {
    "PAWL_ENGINE__FAKE_TOKEN_DELAY_SECONDS": "0.2",
    "PAWL_ENGINE__KV_CACHE_GIB": "0.25",
    "PAWL_ENGINE__DTYPE": "float32",
    "PAWL_RETRAIN__ENABLED": "false",
}
_STORED = {End.FINISHED: "complete", End.TOLD: "failed"}


@dataclass(slots=True)
class Outcome:
    """The outcome of all stops; times are in seconds."""

    times: int = 0
    ends: Counter[End] = field(default_factory=Counter)
    new_work: Counter[End] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    late: list[float] = field(default_factory=list)
    """Seconds from the deadline, or from the last stream's end if earlier, to the exit."""
    misrecorded: int = 0
    orphans: int = 0

    @property
    def good(self) -> bool:
        """Whether every stream finished or got an error event, and all processes ended properly."""
        streams = self.ends[End.FINISHED] + self.ends[End.TOLD] == self.ends.total()
        turned_away = self.new_work[End.BROKEN] + self.new_work[End.FINISHED] == 0
        ended = set(self.statuses) == {0} and not self.orphans
        return streams and turned_away and ended and not self.misrecorded


def run(folder: Path, *, times: int, rng: random.Random, model: Path | None = None) -> Outcome:
    """Start and stop the server `times` times, with all data in `folder`."""
    outcome, serve = Outcome(), SUPERVISED if model is None else FAST
    for _ in range(times):
        drain = rng.uniform(*DRAIN_SECONDS)
        settings = {**_SETTINGS, "PAWL_SERVER__DRAIN_SECONDS": str(drain)}
        server = start_pawl(folder / "data", model=model, settings=settings, serve=serve)
        try:
            asyncio.run(_end(server, outcome, folder / "data", drain, rng))
        finally:
            server.stop()
        outcome.times += 1
    return outcome


async def _end(
    server: ServerProcess, outcome: Outcome, data_dir: Path, drain: float, rng: random.Random
) -> None:
    """Open the streams, send the signal, and record how everything ends."""
    async with session_of(server) as session:
        streams = [OpenStream(_body(number)) for number in range(STREAMS)]
        following = [asyncio.create_task(one.follow(session)) for one in streams]
        for one in streams:
            await one.begun.wait()
        await asyncio.sleep(rng.uniform(*AFTER_SECONDS))
        parent = server.started.process
        processes = list(family(parent.pid))
        os.kill(parent.pid, signal.SIGTERM)
        signalled = time.perf_counter()
        late_comers = await _while_draining(session, following)
        await asyncio.gather(*following)
        code = await asyncio.to_thread(parent.wait, EXIT_SECONDS)
    last = max(one.ended_at for one in streams)
    outcome.late.append(time.perf_counter() - min(last, signalled + drain))
    outcome.statuses[code] += 1
    outcome.ends.update(one.end for one in streams)
    outcome.new_work.update(one.end for one in late_comers)
    outcome.orphans += sum(map(running, processes))
    outcome.misrecorded += _misrecorded(data_dir, streams)


async def _while_draining(
    session: aiohttp.ClientSession, following: list["asyncio.Task[OpenStream]"]
) -> list[OpenStream]:
    """Send requests while the streams end; return those sent after the server was not ready."""
    while not all(task.done() for task in following):
        async with session.get("/health/ready") as ready:
            if ready.status == 503:
                return [await OpenStream(_body(number)).follow(session) for number in range(2)]
    return []


def _body(number: int) -> dict[str, object]:
    message = {"role": "user", "content": f"({number}) When do the tomatoes ripen?"}
    return {
        "model": "pawl",
        "messages": [message],
        "stream": True,
        "max_tokens": 400,
        "ignore_eos": True,
    }


def _misrecorded(data_dir: Path, streams: list[OpenStream]) -> int:
    """Return the number of streams whose row in the log differs from what their client saw."""
    address = f"file:{data_dir / 'pawl.db'}?mode=ro"
    with closing(sqlite3.connect(address, uri=True)) as database:
        stored = dict(database.execute("SELECT id, status FROM interaction").fetchall())
    return sum(stored.get(one.id) != _STORED.get(one.end) for one in streams)


def rows(outcome: Outcome, engine: str) -> list[Row]:
    """The result as one row."""
    return [
        {
            "engine": engine,
            "SIGTERMs": outcome.times,
            "streams open": outcome.ends.total(),
            "finished": outcome.ends[End.FINISHED],
            "told with an error event": outcome.ends[End.TOLD],
            "neither": outcome.ends.total() - outcome.ends[End.FINISHED] - outcome.ends[End.TOLD],
            "stored otherwise than seen": outcome.misrecorded,
            "new requests turned away": outcome.new_work[End.REFUSED],
            "new requests answered or broken": outcome.new_work[End.FINISHED]
            + outcome.new_work[End.BROKEN],
            "exit status not 0": outcome.times - outcome.statuses[0],
            "processes left": outcome.orphans,
            "deadline or last stream to the end, median / most (s)": (
                f"{percentile(outcome.late, 0.5):.2f} / {max(outcome.late):.2f}"
            ),
        }
    ]


def measure(*, times: int, real_times: int, seed: int) -> list[tuple[str, Outcome]]:
    """Return the outcome for each chosen engine."""
    found = []
    for engine, count in (("fake", times), ("vLLM", real_times)):
        if count:
            print(f"{count} SIGTERMs, {engine} engine", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix="pawl-sigterm-") as name:
                folder = Path(name)
                model = make_tiny_model(folder / "model") if engine == "vLLM" else None
                found.append(
                    (engine, run(folder, times=count, rng=random.Random(seed), model=model))
                )
    return found


def main() -> None:
    """Print the table; exit with 1 if a stream neither finished nor got an error event."""
    made = parser(__doc__)
    made.add_argument("--times", type=int, default=50, help="with the fake engine")
    made.add_argument("--real-times", type=int, default=5, help="with the real engine")
    arguments = made.parse_args()
    found = measure(times=arguments.times, real_times=arguments.real_times, seed=arguments.seed)
    table = [row for engine, outcome in found for row in rows(outcome, engine)]
    report({"SIGTERM with streams open": table}, as_json=arguments.json)
    raise SystemExit(0 if all(outcome.good for _, outcome in found) else 1)


if __name__ == "__main__":
    main()
