"""The database of a benchmark's server, and access to it from outside."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg

from bench.support.postgres import running_postgres

DatabaseKind = Literal["sqlite", "postgresql"]
DATABASES: tuple[DatabaseKind, ...] = ("sqlite", "postgresql")
_FEEDBACK = "SELECT id FROM feedback"


@dataclass(frozen=True, slots=True)
class LogStore:
    """A database: `settings` for the server; `feedback` counts the rows of feedback by id."""

    settings: Mapping[str, str]
    feedback: Callable[[], Counter[str]]


@contextmanager
def log_store(kind: DatabaseKind, data_dir: Path) -> Iterator[LogStore]:
    """A new database for the server on `data_dir`: its own file, or a PostgreSQL that syncs."""
    if kind == "sqlite":
        yield LogStore({}, lambda: _in_sqlite(data_dir / "pawl.db"))
        return
    with running_postgres() as server:
        server.execute("CREATE DATABASE pawl")
        url = server.url("pawl")
        yield LogStore({"PAWL_DATABASE_URL": url}, lambda: _in_postgres(url))


def _in_sqlite(path: Path) -> Counter[str]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return Counter(identifier for (identifier,) in database.execute(_FEEDBACK))


def _in_postgres(url: str) -> Counter[str]:
    with psycopg.connect(url) as connection:
        return Counter(identifier for (identifier,) in connection.execute(_FEEDBACK))
