"""Databases that can be made unavailable for a while, in ways that occur in production."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from bench.support.postgres import PostgresServer, running_postgres


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a database becomes unavailable."""

    name: str
    begin: Callable[[], None]
    end: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Breakable:
    """A database and its possible faults. `settings` are the server's `PAWL_…` variables."""

    name: str
    faults: Sequence[Fault]
    query: Callable[[str], list[tuple[Any, ...]]]
    settings: Mapping[str, str] = field(default_factory=dict)

    def count(self, table: str) -> Counter[str]:
        """Return the number of rows of a table by id."""
        query = f"SELECT id FROM {table}"  # noqa: S608  (a name of ours)
        return Counter(identifier for (identifier,) in self.query(query))


@contextmanager
def breakable_sqlite(data_dir: Path) -> Iterator[Breakable]:
    """Yield the SQLite database of a server on `data_dir`; another process can lock it."""
    path = data_dir / "pawl.db"
    held: list[sqlite3.Connection] = []

    def lock() -> None:
        connection = sqlite3.connect(
            path, isolation_level=None, timeout=30, check_same_thread=False
        )
        connection.execute("BEGIN EXCLUSIVE")
        held.append(connection)

    def unlock() -> None:
        while held:
            connection = held.pop()
            connection.execute("ROLLBACK")
            connection.close()

    def query(statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return connection.execute(statement).fetchall()

    try:
        yield Breakable("SQLite", [Fault("locked", lock, unlock)], query)
    finally:
        unlock()


@contextmanager
def breakable_postgres() -> Iterator[Breakable]:
    """Yield a new PostgreSQL with syncs on, which can be stopped at once or paused."""
    with running_postgres() as server:
        faults = [
            Fault("stopped", server.kill, server.start),
            Fault("paused", server.pause, server.resume),
        ]

        def query(statement: str) -> list[tuple[Any, ...]]:
            return _rows(server, statement)

        settings = {"PAWL_DATABASE_URL": server.url()}
        yield Breakable("PostgreSQL", faults, query, settings)
        server.resume()


def _rows(server: PostgresServer, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()
