"""Injects a fault at each system call of a publish, and checks the next process on the data.

A process adds an adapter and makes it live, as the last steps of a run do: it vets, copies, syncs,
renames, registers and loads the adapter and changes the route. At one system call it is killed, or
gets the error of a full or broken disk. The next process must find the previous or the new version
live and complete, with no draft left, and repeating the publish must succeed. The engine is the
fake one.
"""

import asyncio
import json
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from adapters.cluster.membership import Identity
from adapters.config import AdaptersConfig
from adapters.errors import AdaptersError
from adapters.models import Version
from adapters.ports import RegistryObserver
from adapters.service import Registry
from adapters.store.local import ArtifactStore
from bench.faults.injection import Fault, counted, happened, injected
from bench.support.processes import die_with_parent
from server.database.database import Database, sqlite_url
from server.database.migrate import upgrade
from server.engine.fake.engine import FakeEngine
from tests.adapters.adapter_files import BASE, make_adapter

CHANNEL, RUN, SLOT = "pawl", "pawl-2026-w47", "2026-w47"
KILL, FULL, BROKEN = "signal=KILL", "error=ENOSPC", "error=EIO"
FAULTS = (KILL, FULL, BROKEN)
PATIENCE_SECONDS = 60.0
_BROKEN, _TOLD = 1, 3
_FOUND = "found.json"

Work = Callable[[Path], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Struck:
    """One fault, whether it occurred, and what the next process found and did."""

    fault: Fault
    happened: bool
    new_live: bool
    half: bool
    ended: bool


def strike(folder: Path, *, stride: int = 1, faults: tuple[str, ...] = FAULTS) -> Iterator[Struck]:
    """Inject a fault at every `stride`-th call, with all data in the empty `folder`."""
    template, trace = folder / "template", folder / "trace"
    with Publishers() as publishers:
        publishers.do("prepare", template)
        counts: Counter[str] = Counter()
        trial = _fresh(template, folder / "trial")
        with publishers.stopped(trial) as pid, counted(pid, trace, counts):
            publishers.go_on(pid)
        plan = [
            Fault(call, when, how)
            for how in faults
            for call, times in sorted(counts.items())
            for when in range(1, times + 1)
        ][::stride]
        for number, fault in enumerate(plan):
            _tell(number, len(plan))
            trial = _fresh(template, folder / "trial")
            with publishers.stopped(trial) as pid, injected(pid, fault, trace):
                publishers.go_on(pid)
            publishers.do("look", trial)
            found: dict[str, Any] = json.loads((trial / _FOUND).read_text())
            yield Struck(fault, happened(trace), **found)


def _tell(number: int, of: int) -> None:
    if number % 20 == 0:
        print(f"{number} of {of} system calls", file=sys.stderr, flush=True)


def _fresh(template: Path, trial: Path) -> Path:
    shutil.rmtree(trial, ignore_errors=True)
    shutil.copytree(template, trial)
    return trial


class Publishers:
    """A process that has imported everything and forks a child for each job, one at a time."""

    def __enter__(self) -> "Publishers":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.faults.killed_publish"],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=die_with_parent,  # noqa: PLW1509  (it only asks the kernel)
        )
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def do(self, work: str, folder: Path) -> None:
        """Run one job. Raises `RuntimeError` if it fails."""
        pid = self._begin(work, folder)
        if (status := self._end(pid)) != 0:
            raise RuntimeError(f"{work} ended with {status}")

    @contextmanager
    def stopped(self, folder: Path) -> Iterator[int]:
        """Yield a process stopped just before it publishes; `go_on` resumes it."""
        pid = self._begin("publish", folder)
        _wait_stopped(pid)
        yield pid

    def go_on(self, pid: int) -> None:
        """Resume the process and wait for it to end."""
        os.kill(pid, signal.SIGCONT)
        self._end(pid)

    def _begin(self, work: str, folder: Path) -> int:
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.write(json.dumps([work, str(folder)]).encode() + b"\n")
        return self._number()

    def _end(self, pid: int) -> int:
        """Wait for the exit status; kill a process that hangs."""
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        if not select.select([self._process.stdout], [], [], PATIENCE_SECONDS)[0]:
            os.kill(pid, signal.SIGKILL)
        return self._number()

    def _number(self) -> int:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        return int(self._process.stdout.readline())


def _wait_stopped(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{pid}/stat").read_text()
        if stat.rpartition(")")[2].split()[0] == "T":
            return
        time.sleep(0.005)
    raise RuntimeError("the publishing process did not become ready")


def main() -> None:
    """Fork a process for each job (a JSON line); print its id, then its exit status."""
    works = {"prepare": _prepare, "publish": _publish, "look": _look_and_end}
    for line in sys.stdin:
        work, folder = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _in_loop(works[work], Path(folder))
        _say(pid)
        _say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _in_loop(work: Work, folder: Path) -> None:
    """Run in the child, with one worker thread so that calls can be numbered; never returns."""
    die_with_parent()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    async def run() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        await work(folder)

    status = _BROKEN
    try:
        asyncio.run(run())
        status = 0
    except (AdaptersError, SQLAlchemyError, OSError):
        status = _TOLD
    finally:
        os._exit(status)


async def _open(folder: Path) -> tuple[Database, Registry, FakeEngine, ArtifactStore]:
    database = Database(sqlite_url(folder / "pawl.db"))
    engine, store = FakeEngine(), ArtifactStore(folder / "adapters")
    registry = Registry(
        database,
        engine,
        store,
        lambda: datetime.now(UTC),
        AdaptersConfig(),
        BASE,
        RegistryObserver(),
        me=Identity("bench", base_fingerprint=BASE.fingerprint),  # the same server, restarted
    )
    await registry.start()
    return database, registry, engine, store


async def _prepare(folder: Path) -> None:
    """Prepare a folder with a live version and an adapter to publish."""
    await asyncio.to_thread(folder.mkdir)
    await upgrade(sqlite_url(folder / "pawl.db"))
    database, registry, _, _ = await _open(folder)
    first = await registry.add(make_adapter(folder / "first", 1), channel=CHANNEL, actor="bench")
    await registry.promote(first.name, actor="bench", reason="the first")
    make_adapter(folder / "adapter", 2)
    await registry.close()
    await database.close()


async def _publish(folder: Path) -> None:
    database, registry, _, _ = await _open(folder)
    await asyncio.to_thread(os.getpid)  # starts the worker before calls are counted
    os.kill(os.getpid(), signal.SIGSTOP)
    await _go_live(registry, folder)
    await registry.close()
    await database.close()


async def _go_live(registry: Registry, folder: Path) -> None:
    """Publish as a run's steps `vet` and `roll out` do, which may be repeated."""
    version = await registry.add(
        folder / "adapter", channel=CHANNEL, actor="bench", slot=SLOT, run=RUN
    )
    if registry.routes()[CHANNEL].live != version.name:
        await registry.promote(version.name, actor="bench", reason="it is better")


async def _look_and_end(folder: Path) -> None:
    """Write what the next process finds, then repeat the publish."""
    database, registry, engine, store = await _open(folder)
    live = registry.routes()[CHANNEL].live
    versions = await registry.versions(CHANNEL)
    new_live = live in {version.name for version in versions if version.run == RUN}
    drafts = list((folder / "adapters").glob("*/.*"))
    whole = live in engine.resident() and all(_whole(store, one) for one in versions)
    await _go_live(registry, folder)
    again = registry.routes()[CHANNEL].live
    ended = again in {one.name for one in await registry.versions(CHANNEL) if one.run == RUN}
    half = bool(drafts) or not whole or live == "base"
    found = {"new_live": new_live, "half": half, "ended": ended and again in engine.resident()}
    (folder / _FOUND).write_text(json.dumps(found))
    await registry.close()
    await database.close()


def _whole(store: ArtifactStore, version: Version) -> bool:
    try:
        store.verify(version)
    except AdaptersError:
        return False
    return True


if __name__ == "__main__":
    main()
