"""SQLite in WAL mode with `synchronous=FULL`, so that each commit is synced before it returns.

Releases before 3.51.3 can corrupt a WAL database if several connections write or checkpoint at the
same moment. So one in-process lock serialises all writes, and readers are opened `query_only`.
"""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine

from server.database.connections import Connections, to_json
from server.errors import SetupError, path_errors

_MAGIC = b"SQLite format 3\0"
BUSY_TIMEOUT_MS = 5000
"""Milliseconds that SQLite waits for another process's lock."""
READERS = 4
"""Connections for reading."""
_OPTIONS: dict[str, Any] = {
    "max_overflow": 0,
    "pool_timeout": 30,
    "hide_parameters": True,
    "json_serializer": to_json,
}


def check_sqlite(url: URL, data_dir: Path) -> None:
    """Raise `SetupError` unless `url` names an SQLite file, or a path where one can be created.

    `data_dir` may be missing, because the server creates it at startup.
    """
    if not url.database or url.database == ":memory:":
        raise SetupError("database_url: SQLite needs a file: write sqlite:////path/of/the/file.db")
    if url.query:
        raise SetupError("database_url: take the options behind '?' out: there are none for SQLite")
    path = Path(url.database)
    with path_errors("database_url"):
        if not path.parent.is_dir() and path.parent.absolute() != data_dir.absolute():
            raise SetupError(f"database_url: there is no folder {path.parent.absolute()}: make it")
        if not path.exists():
            return
        with path.open("rb") as file:
            begin = file.read(len(_MAGIC))
    if begin not in (b"", _MAGIC):
        raise SetupError("database_url: the file is no SQLite database: name another")


def open_sqlite(url: URL) -> Connections:
    """Create the connection pools of the file that `url` names; first use creates the file."""
    writer = create_async_engine(url, pool_size=1, **_OPTIONS)
    reader = create_async_engine(url, pool_size=READERS, **_OPTIONS)
    probe = create_async_engine(url, pool_size=1, **_OPTIONS)
    direct = create_engine(url.set(drivername="sqlite"), pool_size=1, **_OPTIONS)
    _configure(writer.sync_engine, query_only=False)
    _configure(reader.sync_engine, query_only=True)
    _configure(probe.sync_engine, query_only=True)
    _configure(direct, query_only=False)
    return Connections(writer, reader, direct, probe, one_turn=True)


def _configure(engine: Engine, *, query_only: bool) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # The driver begins a transaction only at the first write, so `_on_begin` does it instead.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=FULL")
        if query_only:
            cursor.execute("PRAGMA query_only=ON")
        else:
            cursor.execute("PRAGMA journal_mode=WAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN" if query_only else "BEGIN IMMEDIATE")
