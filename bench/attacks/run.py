"""Runs attacks in separate processes and measures their effect on other clients."""

import argparse
import importlib
import multiprocessing
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from bench.attacks.attack import Attack, AttackError, Target
from bench.attacks.bystander import Bystander
from bench.attacks.memory import PeakMemory
from bench.support.preloaded import Preloaded
from bench.support.servers import ServerProcess, start_pawl, stopping
from bench.support.stats import percentile
from bench.support.tables import parser, report

MODULES = ("headers", "bodies", "slow", "grammars")
"""Modules with attacks; each has a tuple `ATTACKS`."""
GROWTH_BYTES_MAX = 256 * 1024**2
ANSWER_BYTES = 730_000
CHANNEL_SECONDS = 120
DATA = "data"
TINY_ENGINE = {
    "PAWL_ENGINE__KV_CACHE_GIB": "0.25",
    "PAWL_ENGINE__DTYPE": "float32",
    "PAWL_ENGINE__TOOL_CALL_PARSER": "hermes",
}


def main() -> None:
    """Run the chosen attacks; exit with 1 if the service suffered."""
    options = _options().parse_args()
    chosen = [one for one in attacks() if not options.only or one.case in options.only]
    with Preloaded() as preloaded:
        rows = [_attacked(one, preloaded, options) for one in chosen]
    report({"Attacks": rows}, as_json=options.json)
    if any(row["suffered"] for row in rows):
        sys.exit(1)


def _options() -> argparse.ArgumentParser:
    options = parser("Attack a server of its own and say what others notice.")
    options.add_argument("--only", nargs="*", metavar="CASE", help="such as S2")
    options.add_argument(
        "--patience", type=float, default=1.0, help="seconds that another's answer may take"
    )
    return options


def attacks() -> Iterator[Attack]:
    """Yield all attacks of all modules."""
    for module in MODULES:
        yield from importlib.import_module(f"bench.attacks.{module}").ATTACKS


def _attacked(attack: Attack, preloaded: Preloaded, options: argparse.Namespace) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="pawl-attack-") as folder,
        stopping(_started(attack, Path(folder), preloaded)) as server,
    ):
        _share_the_channel(Path(folder) / DATA)
        target, bystanders_key = _prepare(server, structured=attack.real_engine)
        memory = PeakMemory(server.pid)
        with Bystander(server.url, bystanders_key, structured=attack.real_engine) as bystander:
            outcome = _run(attack, target)
        return _row(attack, outcome, bystander, memory.growth_bytes(), options.patience)


def _started(attack: Attack, folder: Path, preloaded: Preloaded) -> ServerProcess:
    if not attack.real_engine:
        return start_pawl(folder / DATA, settings=attack.settings, preloaded=preloaded)
    from tests.tiny_model import make_tiny_model  # noqa: PLC0415  (imports torch)

    settings = {**TINY_ENGINE, **attack.settings}
    return start_pawl(folder / DATA, model=make_tiny_model(folder / "model"), settings=settings)


def _share_the_channel(data: Path) -> None:
    """Allow another tenant to chat. No route can do that, so it changes the database directly."""
    with closing(sqlite3.connect(data / "pawl.db")) as database, database:
        database.execute("UPDATE channel SET shared = 1")


def _prepare(server: ServerProcess, *, structured: bool) -> tuple[Target, str]:
    """Create two tenants' keys, an answer to rate, its token, and a large answer to fetch."""
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=60) as operator:
        wanted = ({"role": "app"}, {"role": "app", "tenant": "bystander"})
        keys = [_made(operator, "/v1/keys", one)["key"] for one in wanted]
    _wait_for_the_channel(server.url, keys[1], structured=structured)
    mine = {"authorization": f"Bearer {keys[0]}"}
    with httpx.Client(base_url=server.url, headers=mine, timeout=60) as attacker:
        large = {"model": "m", "messages": [{"role": "user", "content": "q" * ANSWER_BYTES}]}
        answer = _made(attacker, "/v1/interactions", {**large, "choices": [{"text": "a"}]})
        rated = answer["inference_id"]
        token = _made(attacker, "/v1/feedback-tokens", {"inference_id": rated})["token"]
    path = f"/v1/interactions/{rated}"
    return Target(urlsplit(server.url).port or 0, token, rated, path, keys[0]), keys[1]


def _wait_for_the_channel(url: str, key: str, *, structured: bool) -> None:
    """Chat until that works; `structured` waits for the process that tries schemas, too."""
    chat: dict[str, Any] = {
        "model": "pawl",
        "messages": [{"role": "user", "content": "When?"}],
        "max_tokens": 1,
    }
    if structured:
        chat["structured_outputs"] = {"choice": ["yes", "no"]}
    deadline = time.monotonic() + CHANNEL_SECONDS
    with httpx.Client(
        headers={"authorization": f"Bearer {key}"}, timeout=CHANNEL_SECONDS
    ) as client:
        while not (answer := client.post(f"{url}/v1/chat/completions", json=chat)).is_success:
            if time.monotonic() > deadline:
                answer.raise_for_status()
            time.sleep(0.1)


def _made(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(path, json=body).raise_for_status()
    made: dict[str, Any] = answer.json()
    return made


@dataclass(frozen=True, slots=True)
class _Outcome:
    seen: str
    worked: bool


def _run(attack: Attack, target: Target) -> _Outcome:
    """Attack from another process, so that measuring is not slowed by attacking."""
    context = multiprocessing.get_context("spawn")
    with _pipe(context) as (here, there):
        process = context.Process(target=_child, args=(attack, target, there))
        process.start()
        there.close()
        try:
            outcome: _Outcome = here.recv()
        except EOFError:
            outcome = _Outcome("the attacker failed", worked=True)
        process.join()
    return outcome


@contextmanager
def _pipe(context: Any) -> Iterator[tuple[Connection, Connection]]:
    here, there = context.Pipe(duplex=False)
    try:
        yield here, there
    finally:
        here.close()


def _child(attack: Attack, target: Target, answer: Connection) -> None:
    try:
        answer.send(_Outcome(attack.run(target), worked=False))
    except AttackError as worked:
        answer.send(_Outcome(str(worked), worked=True))


def _row(
    attack: Attack, outcome: _Outcome, bystander: Bystander, growth: int, patience: float
) -> dict[str, Any]:
    suffered = _suffered(outcome, bystander, growth, patience)
    return {
        "case": attack.case,
        "attack": attack.name,
        "the attacker saw": outcome.seen,
        "others' answers": len(bystander.seconds),
        "failed": bystander.failed,
        "median (ms)": round(1000 * percentile(bystander.seconds, 0.5)),
        "longest (s)": round(max(bystander.seconds), 2),
        "memory grew by (MB)": round(growth / 1024**2),
        "suffered": ", ".join(suffered),
    }


def _suffered(
    outcome: _Outcome, bystander: Bystander, growth: int, patience: float
) -> Sequence[str]:
    """Return how the service suffered; empty if it did not."""
    found = {
        "the attack worked": outcome.worked,
        "others' requests failed": bystander.failed > 0,
        "others waited": max(bystander.seconds) > patience,
        "memory": growth > GROWTH_BYTES_MAX,
    }
    return [name for name, is_so in found.items() if is_so]
