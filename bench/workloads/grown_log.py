"""Writes a log of a given size to a SQLite file, as fast as SQLite can.

Interactions are spread evenly over the last 28 days. One question in nine is asked twice, by two
users, and the answers are rated up and down: a fifth of the interactions has feedback.
"""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from feedback.ids import InteractionIds
from feedback.records import pack
from server.database.database import sqlite_url
from server.database.migrate import upgrade

TENANT, CHANNEL, FINGERPRINT = "default", "pawl", "f" * 64
DAYS = 28
IDS = InteractionIds(b"the secret of the benchmarks")
USERS = 5_000
_BATCH = 10_000
_PROMPT, _ANSWERS = pack(range(120)), [pack(range(first, first + 80)) for first in (0, 1)]
_TEXT = (
    "The slugs leave some of them in August, so we send what the hens and the frost have spared. "
)
_DEFAULTS: dict[str, Any] = {
    "tenant": TENANT,
    "channel": CHANNEL,
    "endpoint": "chat",
    "mode": "live",
    "role": "live",
    "requested_model": CHANNEL,
    "model": f"{CHANNEL}@base",
    "version": "base",
    "base_fingerprint": FINGERPRINT,
    "prompt_token_ids": _PROMPT,
    "prompt_tokens": 120,
    "cached_tokens": 0,
    "completion_tokens": 80,
    "status": "complete",
    "first_token_seconds": 0.1,
    "duration_seconds": 1.0,
}


@dataclass(frozen=True, slots=True)
class GrownLog:
    """The file, and the ids of some of its rows."""

    path: Path
    judged: list[str]
    """The interactions in the first batch of pairs that is read."""
    now: datetime


async def grow(path: Path, interactions: int, seed: int) -> GrownLog:
    """Write the log with the tables and indexes of the newest revision."""
    await upgrade(sqlite_url(path))
    now = datetime.now(UTC)
    rows = _rows(interactions, now, random.Random(seed))
    judged: list[str] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1000000"):
            connection.execute(f"PRAGMA {pragma}")
        indexes = _without_indexes(connection)
        connection.execute("BEGIN")
        while batch := [row for _, row in zip(range(_BATCH), rows, strict=False)]:
            judged += _insert(connection, batch)[: 100 - len(judged)]
        connection.execute("COMMIT")
        for index in indexes:
            connection.execute(index)
        connection.execute("PRAGMA journal_mode=WAL")
    return GrownLog(path, judged, now)


@dataclass(frozen=True, slots=True)
class _Row:
    interaction: dict[str, Any]
    thumb: bool | None


def _rows(interactions: int, now: datetime, dice: random.Random) -> Iterator[_Row]:
    start, step = now - timedelta(days=DAYS), timedelta(days=DAYS) / (interactions + 1)
    for number in range(interactions):
        at = start + number * step
        place = number % 10
        question = number if place != 1 else number - 1
        thumb = {0: True, 1: False}.get(place)
        yield _Row(_interaction(number, question, at, dice), thumb)


def _interaction(number: int, question: int, at: datetime, dice: random.Random) -> dict[str, Any]:
    user = f"user-{dice.randrange(USERS)}"
    asked = f"Question {question}: {_TEXT}"
    request = {"model": CHANNEL, "user": user, "messages": [{"role": "user", "content": asked}]}
    return {
        **_DEFAULTS,
        "id": IDS.new("chatcmpl", TENANT, at),
        "received_at": _stored(at),
        "user": user,
        "run_id": f"run-{number}" if number % 2 else None,
        "conversation": f"{question:032x}",
        "thread": f"{question:032x}",
        "request": orjson.dumps(request).decode(),
    }


def _insert(connection: sqlite3.Connection, batch: list[_Row]) -> list[str]:
    """Write a batch with its answers and ratings; return the ids of the rated interactions."""
    asked = [row.interaction for row in batch]
    _write(connection, "interaction", asked)
    answers = [
        {
            "interaction_id": row["id"],
            "index": 0,
            "text": f"{row['id'][-12:]} {_TEXT}",
            "token_ids": _ANSWERS[number % 2],
            "tokens": 80,
            "finish_reason": "stop",
        }
        for number, row in enumerate(asked)
    ]
    _write(connection, "choice", answers)
    rated = [row for row in batch if row.thumb is not None]
    _write(connection, "feedback", [_thumb(row) for row in rated])
    return [row.interaction["id"] for row in rated]


def _thumb(row: _Row) -> dict[str, Any]:
    return {
        "tenant": TENANT,
        "id": f"feedback-{row.interaction['id'][-30:]}",
        "received_at": row.interaction["received_at"],
        "interaction_id": row.interaction["id"],
        "choice": 0,
        "metric_name": "thumbs",
        "value": "true" if row.thumb else "false",
        "source": "HUMAN",
        "tags": "{}",
        "digest": "d" * 32,
    }


def _write(connection: sqlite3.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    names = ", ".join(f'"{name}"' for name in rows[0])
    marks = ", ".join("?" for _ in rows[0])
    statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - our own names
    connection.executemany(statement, [tuple(row.values()) for row in rows])


def _without_indexes(connection: sqlite3.Connection) -> list[str]:
    """Drop the indexes and return the statements that recreate them."""
    found = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
    ).fetchall()
    for name, _ in found:
        connection.execute(f"DROP INDEX {name}")
    return [statement for _, statement in found]


def _stored(moment: datetime) -> str:
    """As the log's column type writes it."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
