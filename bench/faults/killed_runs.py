"""Kills servers and trainers during a run, and checks what is live afterwards and the run's end.

The server is a separate process (fake engine, SQLite); each run is started by hand for a week of
its own. The server is killed by strace at a chosen commit, or at a random instant; then it is
restarted and must finish the run by itself. After each run base is made live again.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine
from sqlmodel import Session, select

from adapters.errors import AdaptersError
from adapters.models import Version
from adapters.routing.lifecycle import RESIDENT, states
from adapters.store.local import ArtifactStore
from bench.faults.injection import Fault, injected
from bench.support.preloaded import Preloaded
from bench.support.processes import carrying, survivors
from bench.support.servers import ServerProcess, start_pawl
from retrain.slots import slot_of
from server.database.database import Database, sqlite_url
from server.database.migrate import upgrade
from tests.retrain.world import week

BASE = "base"
END_SECONDS = 120.0
RUN_SECONDS = 2.0
"""Approximate duration of a run, in seconds."""
SETTINGS = {
    "PAWL_RETRAIN__ENABLED": "false",
    "PAWL_RETRAIN__POLL_SECONDS": "1",
    "PAWL_RETRAIN__MINIMUM_PAIRS": "5",
    "PAWL_RETRAIN__JUDGE": "bench.workloads.adapter_judge:likes_adapters",
    "PAWL_RETRAIN__PAIRS": '{"held_out_share": 0.5}',
    "PAWL_RETRAIN__GATE": '{"comparisons": 12, "minimum": 10}',
    "PAWL_RETRAIN__EVALUATION": '{"attempts": 1, "first_pause": 0}',
    "PAWL_RETRAIN__TRAINER": json.dumps(
        {"command": [sys.executable, "-m", "bench.workloads.quick_trainer"], "tensorboard": False}
    ),
}


@dataclass(frozen=True, slots=True)
class Killed:
    """One kill: the run's step (`before it` if it had no row yet) and the outcome.

    `died` is False if the run ended before the kill. `seconds` is the time from the restart to the
    end of the run.
    """

    what: str
    step: str
    died: bool
    new_live: bool
    half: bool
    ended: bool
    orphans: int
    seconds: float


class Runs:
    """A data folder with a log to train on, and its server."""

    def __init__(self, folder: Path, preloaded: Preloaded | None = None) -> None:
        self._folder = folder
        self._preloaded = preloaded
        self._data = folder / "data"
        self._number = 0
        asyncio.run(_write_log(self._data))
        self._server = self._start()

    def close(self) -> None:
        """Stop the server."""
        self._server.stop()

    def commit(self, number: int) -> Killed:
        """Kill the server while it syncs commit `number` of its run."""
        fault = Fault("fdatasync", number, "signal=KILL")
        with injected(self._server.pid, fault, self._folder / "trace"):
            run = self._begin()
            self._until_dead_or_ended(run)
        return self._after("server, at a commit", run)

    def instant(self, rng: random.Random) -> Killed:
        """Kill the server at a random instant of its run."""
        run = self._begin()
        time.sleep(rng.uniform(0, RUN_SECONDS))
        with suppress(ProcessLookupError):
            os.kill(self._server.pid, signal.SIGKILL)
        self._server.started.process.wait()
        return self._after("server, at a random instant", run)

    def trainer(self, rng: random.Random) -> Killed:
        """Kill the trainer at a random instant of its training."""
        before = carrying(self._mark)
        run = self._begin()
        trainer = self._data / "runs" / run / "trainer.pid"
        while not trainer.exists():
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 1))
        step = self._row(run)[0]
        with suppress(ProcessLookupError):
            os.kill(int(trainer.read_text().split()[0]), signal.SIGKILL)
        killed = self._judged("trainer", run, step, died=True, orphans=0)
        return replace(killed, orphans=len(survivors(carrying(self._mark) - before)))

    @property
    def _mark(self) -> str:
        """A mark in the environment of every process that the server starts."""
        return f"TMPDIR={self._server.started.scratch.name}"

    def _start(self) -> ServerProcess:
        return start_pawl(self._data, settings=SETTINGS, preloaded=self._preloaded)

    def _begin(self) -> str:
        """Start the run of a new week and return its id. The server may be killed meanwhile."""
        self._number += 1
        slot = slot_of(datetime(2020, 1, 6, tzinfo=UTC) + timedelta(weeks=self._number))
        with suppress(OSError):
            self._ask("POST", "/v1/runs", {"slot": slot})
        return f"pawl-{slot}.1"

    def _until_dead_or_ended(self, run: str) -> None:
        deadline = time.monotonic() + END_SECONDS
        while self._server.started.process.poll() is None and time.monotonic() < deadline:
            if self._row(run)[1] not in ("running", "none"):
                return
            time.sleep(0.02)

    def _after(self, what: str, run: str) -> Killed:
        """Inspect what a dead server left, and start the next one."""
        died = self._server.started.process.poll() is not None
        step, orphans = self._row(run)[0], 0
        if died:
            orphans = len(survivors(carrying(self._mark)))
            self._server.kill()
            self._server = self._start()
        return self._judged(what, run, step, died=died, orphans=orphans)

    def _judged(self, what: str, run: str, step: str, *, died: bool, orphans: int) -> Killed:
        began = time.monotonic()
        live = self._live()
        half = not self._whole(live)
        ended = self._ended(run)
        seconds = time.monotonic() - began
        half = half or not self._whole(self._live())
        if self._live() != BASE:
            self._ask("POST", "/v1/rollback", {"reason": "the next run"})
        return Killed(what, step, died, live != BASE, half, ended, orphans, seconds)

    def _ended(self, run: str) -> bool:
        """Return whether the run, if there is one, ends by itself and its version is then live."""
        deadline = time.monotonic() + END_SECONDS
        while (state := self._row(run)[1]) == "running" and time.monotonic() < deadline:
            time.sleep(0.02)
        if state == "none":
            return True
        version = self._query("SELECT version FROM run WHERE id = ?", run)[0]
        return bool(state == "promoted" and self._live() == version)

    def _live(self) -> str:
        return str(self._ask("GET", "/v1/route", None)["live"])

    def _whole(self, live: str) -> bool:
        """Return whether the live version answers and all resident versions are undamaged."""
        body = {"model": "pawl", "messages": [{"role": "user", "content": "When?"}]}
        answered = self._ask("POST", "/v1/chat/completions", body)["model"] in (
            f"pawl@{live}",
            f"pawl@{self._live()}",  # the run's version may go live between the two queries
        )
        drafts = list((self._data / "adapters").glob("*/.removing-*"))
        return answered and not drafts and self._files_are_whole()

    def _files_are_whole(self) -> bool:
        store = ArtifactStore(self._data / "adapters")
        engine = create_engine(f"sqlite:///{self._data / 'pawl.db'}")
        try:
            with Session(engine) as session:
                resident = select(Version).where(Version.state.in_(states(RESIDENT)))  # type: ignore[attr-defined]  # a column
                for version in session.exec(resident):
                    store.verify(version)
        except AdaptersError:
            return False
        finally:
            engine.dispose()
        return True

    def _row(self, run: str) -> tuple[str, str]:
        """Return the run's step and state; `before it` and `none` without a row."""
        found = self._query("SELECT step, state FROM run WHERE id = ?", run)
        return (str(found[0]), str(found[1])) if found else ("before it", "none")

    def _query(self, query: str, value: str) -> Any:
        address = f"file:{self._data / 'pawl.db'}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=30)) as database:
            return database.execute(query, (value,)).fetchone()

    def _ask(self, method: str, path: str, body: Any) -> Any:
        headers = {"content-type": "application/json", **self._server.headers}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310  (our own address)
            self._server.url + path, content, headers, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return json.load(response)


async def _write_log(data_dir: Path) -> None:
    """Write a week of chats and preferences, answered by the fake engine's base model."""
    await asyncio.to_thread(data_dir.mkdir)
    url = sqlite_url(data_dir / "pawl.db")
    await upgrade(url)
    database = Database(url)
    log = week(datetime.now(UTC) - timedelta(days=1), "first")
    for row in log.rows:
        for name, value in (
            ("tenant", "default"),
            ("base_fingerprint", sha256(b"fake").hexdigest()),
        ):
            if hasattr(row, name):
                setattr(row, name, value)
    await log.write(database)
    await database.close()


def kill(
    folder: Path, *, commits: int, instants: int, trainers: int, rng: random.Random
) -> Iterator[Killed]:
    """Kill at the first `commits` commits, at random instants, and the trainer of some runs."""
    with Preloaded() as preloaded, closing(Runs(folder, preloaded)) as runs:
        for number in range(1, commits + 1):
            yield runs.commit(number)
        for _ in range(instants):
            yield runs.instant(rng)
        for _ in range(trainers):
            yield runs.trainer(rng)
