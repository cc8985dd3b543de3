"""A publish that is struck at each of its system calls, and what the next process finds and does.

A process adds an adapter and makes it live, as the last steps of a run do: vetting, copying,
syncing, renaming, registering, loading, the route. At one system call it is killed, or told that
the disk is full or broken. The next process on the folder must find the version before live, or the
new one, each whole, with no draft left; and doing it again must end well. The engine is the fake.
"""

import asyncio
import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from adapters.artifacts import ArtifactStore
from adapters.config import AdaptersConfig
from adapters.errors import AdaptersError
from adapters.models import Version
from adapters.ports import SilentObserver
from adapters.service import Registry
from bench.injection import Fault, counted, happened, injected
from server.db import Database, sqlite_url
from server.engine.fake import FakeEngine
from server.migrate import upgrade
from tests.adapters.adapter_files import BASE, make_adapter

CHANNEL, RUN, SLOT = "pawl", "pawl-2026-w47", "2026-w47"
KILL, FULL, BROKEN = "signal=KILL", "error=ENOSPC", "error=EIO"
FAULTS = (KILL, FULL, BROKEN)
PATIENCE_SECONDS = 60.0
_TOLD = 3
_FOUND = "found.json"


@dataclass(frozen=True, slots=True)
class Struck:
    """One fault, whether it came about, and what the next process found and did."""

    fault: Fault
    happened: bool
    new_live: bool
    half: bool
    ended: bool


def strike(folder: Path, *, stride: int = 1, faults: tuple[str, ...] = FAULTS) -> Iterator[Struck]:
    """Strike at every `stride`-th call; `folder` is empty."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["bench.killed_publish"])
    template = folder / "template"
    _run(processes, _prepare, template)
    counts: Counter[str] = Counter()
    trial = _fresh(template, folder / "trial")
    _publish_under(processes, trial, lambda pid: counted(pid, folder / "trace", counts))
    plan = [
        Fault(call, when, how)
        for how in faults
        for call, times in sorted(counts.items())
        for when in range(1, times + 1)
    ]
    for number, fault in enumerate(plan[::stride]):
        _tell(number, len(plan[::stride]))
        trial = _fresh(template, folder / "trial")
        _publish_under(
            processes, trial, lambda pid, one=fault: injected(pid, one, folder / "trace")
        )
        _run(processes, _look_and_end, trial)
        found: dict[str, Any] = json.loads((trial / _FOUND).read_text())
        yield Struck(fault, happened(folder / "trace"), **found)


def _tell(number: int, of: int) -> None:
    if number % 20 == 0:
        print(f"{number} of {of} system calls", file=sys.stderr, flush=True)


def _fresh(template: Path, trial: Path) -> Path:
    shutil.rmtree(trial, ignore_errors=True)
    shutil.copytree(template, trial)
    return trial


def _run(processes: Any, work: Any, folder: Path) -> None:
    process = processes.Process(target=_in_loop, args=(work, folder))
    process.start()
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"{work.__name__} ended with {process.exitcode}")


def _publish_under(processes: Any, folder: Path, tracing: Any) -> None:
    """Let a process publish, with a tracer attached just before it begins."""
    process = processes.Process(target=_in_loop, args=(_publish, folder))
    process.start()
    _wait_stopped(process.pid)
    with tracing(process.pid):
        os.kill(process.pid, signal.SIGCONT)
        process.join(PATIENCE_SECONDS)
        if process.exitcode is None:
            process.kill()
    process.join()


def _wait_stopped(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{pid}/stat").read_text()
        if stat.rpartition(")")[2].split()[0] == "T":
            return
        time.sleep(0.005)
    raise RuntimeError("the publishing process did not become ready")


def _in_loop(work: Any, folder: Path) -> None:
    """In the new process: one worker thread, so that each call has its number."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    async def run() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        await work(folder)

    try:
        asyncio.run(run())
    except (AdaptersError, SQLAlchemyError, OSError):
        os._exit(_TOLD)


async def _open(folder: Path) -> tuple[Database, Registry, FakeEngine, ArtifactStore]:
    database = Database(sqlite_url(folder / "pawl.db"))
    engine, store = FakeEngine(), ArtifactStore(folder / "adapters")
    registry = Registry(
        database, engine, store, lambda: datetime.now(UTC), AdaptersConfig(), BASE, SilentObserver()
    )
    await registry.start()
    return database, registry, engine, store


async def _prepare(folder: Path) -> None:
    """A folder with a version that is live, and an adapter that is to be the next."""
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
    await asyncio.to_thread(os.getpid)  # the worker is there before anybody counts
    os.kill(os.getpid(), signal.SIGSTOP)
    await _go_live(registry, folder)
    await registry.close()
    await database.close()


async def _go_live(registry: Registry, folder: Path) -> None:
    """As a run's `vet` and `roll out`, which may be done again."""
    version = await registry.add(
        folder / "adapter", channel=CHANNEL, actor="bench", slot=SLOT, run=RUN
    )
    if registry.routes()[CHANNEL].live != version.name:
        await registry.promote(version.name, actor="bench", reason="it is better")


async def _look_and_end(folder: Path) -> None:
    """What the next process finds; then it does the same again."""
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
