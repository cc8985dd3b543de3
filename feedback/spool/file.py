"""The spool's file: one SQLite connection, limited in size; a damaged file is renamed."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import structlog
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, DBAPIError

from feedback.spool.tables import count_rows, create_tables

Result = TypeVar("Result")

PAGE_BYTES = 4096
BUSY_TIMEOUT_MS = 200
"""Milliseconds to wait for a lock: no other process writes, but one may read."""
LEAST_BYTES = 64 * PAGE_BYTES
"""Smallest allowed size, in bytes: enough for the empty tables."""

_log = structlog.get_logger()


class SpoolSize(NamedTuple):
    """Rows in the spool, and bytes in use."""

    rows: int
    bytes: int


class SpoolFile:
    """The SQLite file. Use it from one thread only."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        self._path = path
        self._pages_max = max(bytes_max, LEAST_BYTES) // PAGE_BYTES
        self._engine = self._new_engine()
        self._ready = False

    def check(self) -> None:
        """Rename a damaged file, or one that is not SQLite's, so that a new spool is created."""
        self.close()
        if self._path.exists() and not _is_intact(self._path):
            self._set_aside()

    def transact(self, work: Callable[[Connection], Result]) -> tuple[Result, SpoolSize]:
        """Run `work` in a transaction; return its result and the size afterwards."""
        try:
            with self._engine.begin() as connection:
                if not self._ready:
                    create_tables(connection)
                result = work(connection)
                size = SpoolSize(count_rows(connection), _bytes_used(connection))
        except DBAPIError as error:
            self.close()  # a failed connection may keep failing
            if type(error) is DatabaseError:
                self.check()
            raise
        self._ready = True
        return result, size

    def shrink(self) -> None:
        """Return the space of deleted rows to the file system."""
        with closing(self._engine.raw_connection()) as connection:  # outside of a transaction
            cursor = connection.cursor()
            # As a script: the driver's `execute` takes one step, and each step frees one page.
            cursor.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")
            cursor.close()

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        self._engine.dispose()
        self._ready = False

    def _set_aside(self) -> None:
        other = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns()}")
        self._path.rename(other)
        for suffix in ("-wal", "-shm"):
            beside = self._path.with_name(self._path.name + suffix)
            if beside.exists():
                beside.rename(other.with_name(other.name + suffix))
        _log.error("spool_damaged", kept_as=other.name)

    def _new_engine(self) -> Engine:
        engine = create_engine(
            f"sqlite:///{self._path}", pool_size=1, max_overflow=0, hide_parameters=True
        )
        pragmas = (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            f"page_size={PAGE_BYTES}",
            "auto_vacuum=INCREMENTAL",
            "journal_mode=WAL",
            "synchronous=FULL",
            f"max_page_count={self._pages_max}",
        )

        @event.listens_for(engine, "connect")
        def _on_connect(connection: Any, _record: Any) -> None:
            connection.isolation_level = None
            cursor = connection.cursor()
            for pragma in pragmas:
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

        @event.listens_for(engine, "begin")
        def _on_begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        return engine


def is_full(error: DBAPIError) -> bool:
    """Return whether the file has reached its largest size, or the disk is full."""
    return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def _is_intact(path: Path) -> bool:
    """Return whether SQLite finds no damage. Raises other errors: locked, full, forbidden."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            found: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:
            raise
        return False
    return found == "ok"


def _bytes_used(connection: Connection) -> int:
    pages, free = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
        for name in ("page_count", "freelist_count")
    )
    return (pages - free) * PAGE_BYTES
