"""Kills and stops the engine under load: `python -m bench.faults.engine [--kills 20] [--hangs 5]`.

Pawl serves an adapter of a tiny model with the real engine under its supervisor, while a few
clients stream. EngineCore (with `--workers` alternately its worker) is killed (SIGKILL), then
EngineCore is stopped (SIGSTOP), each time with streams open. The table shows the time until the
first client got an error (seen) and until a chat was answered again (serving again), and the
duration of the new server's start (loading). Each open stream must end with an error event, and the
version that was live must answer afterwards.
"""

import asyncio
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench.support.chat import session_of
from bench.support.open_streams import End, OpenStream
from bench.support.servers import FAST, SUPERVISED, ServerProcess, age_seconds, start_pawl
from bench.support.stats import percentile
from bench.support.tables import Row, parser, report
from common.processes import family, name_of, running
from server.startup.data_lock import RunningServer
from tests.tiny_model import make_random_adapter, make_tiny_model

CLIENTS = 4
HANG_SECONDS = 10.0
SEEN_LIMIT_SECONDS = 5.0
AGAIN_LIMIT_SECONDS = 60.0
PATIENCE_SECONDS = 240.0
QUIET_SECONDS = 6.0
"""Seconds between two faults; longer than the time after which a restart counts as successful."""
_SETTINGS = {
    "PAWL_ENGINE__HANG_SECONDS": str(HANG_SECONDS),
    "PAWL_ENGINE__KV_CACHE_GIB": "0.25",
    "PAWL_ENGINE__DTYPE": "float32",
    "PAWL_SERVER__PROVEN_SECONDS": "5",
    "PAWL_RETRAIN__ENABLED": "false",
}
_CORE, _WORKER, _STOPPED = "EngineCore killed", "worker killed", "EngineCore stopped"


@dataclass(slots=True)
class Fault:
    """The effect of one fault, in seconds after it. `load` is the start of the new server."""

    seen: float
    again: float
    load: float
    ends: Counter[End]
    orphans: int
    right_version: bool


@dataclass(slots=True)
class Outcome:
    """All faults, by kind."""

    faults: dict[str, list[Fault]] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether each fault was seen and repaired in time, and every stream got an error."""
        return all(
            fault.seen <= SEEN_LIMIT_SECONDS + (HANG_SECONDS if what == _STOPPED else 0)
            and fault.again <= AGAIN_LIMIT_SECONDS + fault.load
            and set(fault.ends) <= {End.TOLD, End.FINISHED}
            and fault.right_version
            and not fault.orphans
            for what, faults in self.faults.items()
            for fault in faults
        )


async def run(folder: Path, *, kills: int, hangs: int, fast: bool = True) -> Outcome:
    """Serve with all data in `folder`, and kill and stop the engine."""
    model = make_tiny_model(folder / "model", positions=2048)
    adapter = make_random_adapter(folder / "adapter", base=model, seed=1)
    outcome, serve = Outcome(), FAST if fast else SUPERVISED
    server = start_pawl(folder / "data", model=model, settings=_SETTINGS, serve=serve)
    try:
        version = await _promoted(server, adapter)
        victims = itertools.islice(itertools.cycle([_CORE] if fast else [_CORE, _WORKER]), kills)
        for what in (*victims, *[_STOPPED] * hangs):
            await asyncio.sleep(QUIET_SECONDS)
            fault = await _suffer(server, what, folder, version)
            outcome.faults.setdefault(what, []).append(fault)
            print(what, fault, file=sys.stderr, flush=True)
    finally:
        server.stop()
    return outcome


async def _suffer(server: ServerProcess, what: str, folder: Path, version: str) -> Fault:
    """Kill or stop the engine with streams open, and wait until the next one answers."""
    stopped = what == _STOPPED
    below = list(family(server.started.process.pid))[1:]
    prefix = "VLLM::Worker" if what == _WORKER else "VLLM::Engin"
    victim = next(pid for pid in below if name_of(pid).startswith(prefix))
    streams = [OpenStream(_body()) for _ in range(CLIENTS)]
    async with session_of(server) as session:
        following = [asyncio.create_task(one.follow(session)) for one in streams]
        for one in streams:
            await one.begun.wait()
        os.kill(victim, signal.SIGSTOP if stopped else signal.SIGKILL)
        began = time.perf_counter()
        await asyncio.gather(*following)
    told = [one.told_at - began for one in streams if one.told_at is not None]
    right = await _serving_again(server, folder / "data" / "server.json", version)
    again, load = time.perf_counter() - began, age_seconds(server.pid)
    return Fault(
        seen=min(told, default=float("inf")),
        again=again,
        load=load,
        ends=Counter(one.end for one in streams),
        orphans=sum(map(running, below)),
        right_version=right,
    )


def _body() -> dict[str, Any]:
    message = {"role": "user", "content": "When do the tomatoes ripen?"}
    # Long enough that no stream ends before the fault.
    return {
        "model": "pawl",
        "messages": [message],
        "stream": True,
        "max_tokens": 900,
        "ignore_eos": True,
    }


async def _serving_again(server: ServerProcess, note: Path, version: str) -> bool:
    """Wait until another server answers a chat; return whether the live version answered."""
    before = server.pid
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            now = _noted(note)
            if now is not None and now.pid != before:
                server.url, server.pid, server.token = now.url, now.pid, now.token
                answer = OpenStream({**_body(), "max_tokens": 1})
                async with session_of(server) as session:
                    await answer.follow(session)
                if answer.end is End.FINISHED:
                    return answer.version == version
            await asyncio.sleep(0.05)


def _noted(note: Path) -> RunningServer | None:
    try:
        return RunningServer(**json.loads(note.read_text()))
    except FileNotFoundError:
        return None


async def _promoted(server: ServerProcess, adapter: Path) -> str:
    """Make the adapter live and return its version."""
    async with session_of(server) as session:
        added = await _post(session, "/v1/adapters", {"path": str(adapter)})
        await _post(session, f"/v1/adapters/{added['name']}/promote", {"reason": "bench"})
    return str(added["name"])


async def _post(session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> Any:
    async with session.post(path, json=body) as response:
        response.raise_for_status()
        return await response.json()


def rows(outcome: Outcome) -> list[Row]:
    """Return one row for each kind of fault."""
    return [
        {
            "fault": what,
            "times": len(faults),
            "seen, median / most (s)": _spread([one.seen for one in faults]),
            "serving again, median / most (s)": _spread([one.again for one in faults]),
            "of that loading, median / most (s)": _spread([one.load for one in faults]),
            "streams open": sum(one.ends.total() for one in faults),
            "told with an error event": sum(one.ends[End.TOLD] for one in faults),
            "broken": sum(one.ends[End.BROKEN] for one in faults),
            "live version back": sum(one.right_version for one in faults),
            "processes left": sum(one.orphans for one in faults),
        }
        for what, faults in outcome.faults.items()
    ]


def _spread(values: list[float]) -> str:
    return f"{percentile(values, 0.5):.2f} / {max(values):.2f}"


def main() -> None:
    """Print the table; exit with 1 if a limit was missed."""
    made = parser(__doc__)
    made.add_argument("--kills", type=int, default=20)
    made.add_argument("--hangs", type=int, default=5)
    made.add_argument("--workers", action="store_true", help="as served: a worker of its own")
    arguments = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="pawl-fault-") as folder:
        outcome = asyncio.run(
            run(
                Path(folder),
                kills=arguments.kills,
                hangs=arguments.hangs,
                fast=not arguments.workers,
            )
        )
    title = f"Engine killed or stopped (hang_seconds {HANG_SECONDS:g})"
    report({title: rows(outcome)}, as_json=arguments.json)
    raise SystemExit(0 if outcome.good else 1)


if __name__ == "__main__":
    main()
