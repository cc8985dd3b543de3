"""Backup and restore of a large log while a server answers chats: `python -m bench.backup`.

The log is written directly to the database: interactions with their prompts, answers and token ids,
and two judgements for each. Then chats run in a closed loop over a fixed number of streams, first
alone, then during `pawl backup` in a separate process. Restores go into new databases of both
kinds, without a server. The fake engine answers with a delay per token, so that the processors are
not saturated and the slowdown comes from the backup.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert

from bench.support.load import Load, drive
from bench.support.log_stores import DATABASES, DatabaseKind, log_store
from bench.support.servers import ServerProcess, start_pawl, stopping
from bench.support.stats import percentile
from bench.support.tables import Row, parser, report
from feedback.models import Choice, Feedback, Interaction
from server.database.address import sqlite_url
from server.maintenance.backup.fill import writing

INTERACTIONS = 100_000
JUDGEMENTS = 2
"""Of each interaction."""
PROMPT_WORDS, ANSWER_WORDS = 120, 150
VOCABULARY, TOKEN_IDS = 4000, 150_000
PROMPT_TOKENS, ANSWER_TOKENS = 160, 200
STREAMS, TOKENS, TOKEN_SECONDS = 16, 20, 0.02
STRETCH = 160
"""Chats of one measurement."""
BATCH = 1000
MEGABYTE = 1e6
PAWL = (sys.executable, "-m", "server.cli")


@dataclass(frozen=True, slots=True)
class Measured:
    """One database: the output of `pawl backup` and `pawl restore`, and the concurrent chats."""

    kind: DatabaseKind
    rows: int
    alone: Load
    beside: Sequence[Load]
    idle: Mapping[str, Any]
    busy: Mapping[str, Any]
    restores: Mapping[str, float]


async def measure(
    folder: Path, kind: DatabaseKind, *, interactions: int, rng: random.Random
) -> Measured:
    """Measure one database, with all files in the empty `folder`."""
    data_dir = folder / "data"
    with log_store(kind, data_dir) as store:
        engine = {"PAWL_ENGINE__FAKE_TOKEN_DELAY_SECONDS": str(TOKEN_SECONDS)}
        settings = {**store.settings, **engine, "PAWL_RETRAIN__ENABLED": "false"}
        start_pawl(data_dir, settings=settings).stop()  # makes the tables
        url = store.settings.get("PAWL_DATABASE_URL", sqlite_url(data_dir / "pawl.db"))
        rows = _fill(url, interactions, rng)
        _say(f"{kind}: {rows} rows are there")
        command = {**settings, "PAWL_DATA_DIR": str(data_dir)}
        with stopping(start_pawl(data_dir, settings=settings)) as server:
            await _chat(server, rng)  # warm
            alone = await _chat(server, rng)
            idle = await _pawl(command, "backup", str(folder / "idle"))
            beside, busy = await _beside(server, command, folder / "busy", rng)
    return Measured(kind, rows, alone, beside, idle, busy, await _restores(folder))


async def _beside(
    server: ServerProcess, command: Mapping[str, str], place: Path, rng: random.Random
) -> tuple[list[Load], Mapping[str, Any]]:
    """Chat until a backup has ended."""
    backup = asyncio.create_task(_pawl(command, "backup", str(place)))
    found = []
    while not backup.done():
        found.append(await _chat(server, rng))
    return found, await backup


async def _restores(folder: Path) -> dict[str, float]:
    """Seconds of a restore into each kind of database."""
    seconds: dict[str, float] = {}
    for kind in DATABASES:
        data_dir = folder / f"into-{kind}" / "data"
        data_dir.parent.mkdir()
        with log_store(kind, data_dir) as store:
            command = {**store.settings, "PAWL_DATA_DIR": str(data_dir)}
            told = await _pawl(command, "restore", str(folder / "idle"))
            seconds[kind] = float(told["seconds"])
    return seconds


async def _chat(server: ServerProcess, rng: random.Random) -> Load:
    return await drive(server, streams=STREAMS, requests=STRETCH, tokens=TOKENS, rng=rng)


async def _pawl(settings: Mapping[str, str], *arguments: str) -> Mapping[str, Any]:
    """Run a command and return the JSON that it prints."""
    process = await asyncio.create_subprocess_exec(
        *PAWL,
        *arguments,
        "--json",
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    told, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"pawl {arguments[0]} ended with {process.returncode}")
    found: Mapping[str, Any] = json.loads(told)
    _say(f"{arguments[0]}: {found['seconds']} s")
    return found


class _Texts:
    """Random words and token ids that compress about as well as real ones."""

    def __init__(self, seed: int) -> None:
        self._draw = np.random.default_rng(seed)
        letters = "etaoinshrdlucmfwypvbgk"
        lengths = self._draw.integers(2, 11, VOCABULARY)
        self._words = ["".join(self._draw.choice(list(letters), n)) for n in lengths]

    def words(self, count: int) -> str:
        return " ".join(self._words[place] for place in self._draw.integers(0, VOCABULARY, count))

    def tokens(self, count: int) -> bytes:
        return self._draw.integers(0, TOKEN_IDS, count, dtype="<i4").tobytes()


def _fill(url: str, interactions: int, rng: random.Random) -> int:
    """Write the log in one transaction and return the number of rows."""
    numbers, rows, texts = iter(range(interactions)), 0, _Texts(rng.getrandbits(32))
    with writing(url) as connection:
        while batch := list(islice(numbers, BATCH)):
            made = [_interaction(number, texts, rng) for number in batch]
            for table, found in (
                (Interaction, made),
                (Choice, [_choice(row["id"], texts) for row in made]),
                (Feedback, [word for row in made for word in _judgements(row)]),
            ):
                connection.execute(insert(table), found)
                rows += len(found)
    return rows


def _interaction(number: int, texts: _Texts, rng: random.Random) -> dict[str, Any]:
    question = texts.words(PROMPT_WORDS)
    return {
        "id": f"chatcmpl-{number:012}",
        "received_at": datetime(2026, 11, 1, tzinfo=UTC) + timedelta(seconds=number),
        "tenant": "default",
        "channel": "pawl",
        "endpoint": "chat",
        "mode": "live",
        "role": "live",
        "requested_model": "pawl",
        "model": "pawl@base",
        "version": "base",
        "user": f"user-{number % 5000}",
        "conversation": f"{rng.getrandbits(128):032x}",
        "thread": f"{rng.getrandbits(128):032x}",
        "request": {"messages": [{"role": "user", "content": question}], "temperature": 0.7},
        "prompt_token_ids": texts.tokens(PROMPT_TOKENS),
        "prompt_tokens": PROMPT_TOKENS,
        "cached_tokens": 0,
        "completion_tokens": ANSWER_TOKENS,
        "status": "complete",
        "first_token_seconds": rng.random(),
        "duration_seconds": rng.random(),
    }


def _choice(interaction: str, texts: _Texts) -> dict[str, Any]:
    return {
        "interaction_id": interaction,
        "index": 0,
        "text": texts.words(ANSWER_WORDS),
        "token_ids": texts.tokens(ANSWER_TOKENS),
        "tokens": ANSWER_TOKENS,
        "finish_reason": "stop",
    }


def _judgements(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for number in range(JUDGEMENTS):
        yield {
            "tenant": row["tenant"],
            "id": f"feedback-{number}-{row['id']}",
            "received_at": row["received_at"],
            "interaction_id": row["id"],
            "choice": 0,
            "metric_name": ("thumbs", "rating")[number],
            "value": (True, 4)[number],
            "rater": row["user"],
            "source": "HUMAN",
            "tags": {},
            "digest": row["conversation"],
        }


def _table(found: Measured) -> Row:
    latencies = [second for load in found.beside for second in load.latencies]
    chats = sum(load.requests for load in found.beside)
    return {
        "database": found.kind,
        "rows": found.rows,
        "backup, idle (s)": found.idle["seconds"],
        "processor (s)": found.idle["processor_seconds"],
        "beside chats (s)": found.busy["seconds"],
        "size (MB)": round(found.idle["size_bytes"] / MEGABYTE),
        **{f"restore into {kind} (s)": found.restores[kind] for kind in DATABASES},
        "chats beside": chats,
        "failed": sum(load.errors for load in found.beside),
        "chat p50 alone (ms)": round(found.alone.latency_p50 * 1000),
        "p50 beside": round(percentile(latencies, 0.5) * 1000),
        "p99 alone": round(found.alone.latency_p99 * 1000),
        "p99 beside": round(percentile(latencies, 0.99) * 1000),
    }


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--database", choices=[*DATABASES, "both"], default="both")
    arguments.add_argument("--interactions", type=int, default=INTERACTIONS)
    given = arguments.parse_args()
    kinds = DATABASES if given.database == "both" else (given.database,)
    rows = []
    with ExitStack() as stack:
        for kind in kinds:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pawl-backup-")))
            rng = random.Random(given.seed)
            found = asyncio.run(measure(folder, kind, interactions=given.interactions, rng=rng))
            rows.append(_table(found))
    report({"Back-up and restore": rows}, as_json=given.json)


if __name__ == "__main__":
    main()
