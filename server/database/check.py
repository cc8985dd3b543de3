"""The database checks of `pawl doctor`. Read-only: they change no data and create no file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import psycopg
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from server.database.database import database_address
from server.database.postgres import connect_arguments, refusal
from server.errors import SetupError

State = Literal["ok", "warning", "bad"]
Found = tuple[State, str]

NETWORK_FILESYSTEMS = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "ceph", "glusterfs", "afs")
"""Prefixes of filesystem types whose locks and syncs are not reliable enough for SQLite."""


def check_database(url: str) -> Iterator[Found]:
    """Check that the database answers, its revision, and that its commits are durable."""
    try:
        address = database_address(url)
    except SetupError as error:
        yield "bad", str(error)
        return
    yield from _sqlite(address) if address.get_backend_name() == "sqlite" else _postgres(address)


def filesystem_of(path: Path, mounts: str) -> str:
    """Return the type of the filesystem of `path`, or "" if unknown.

    Args:
        path: An absolute path.
        mounts: The text of `/proc/mounts`.

    """
    found, longest = "", -1
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        place = place.replace("\\040", " ")
        if path.is_relative_to(place) and len(place) > longest:
            found, longest = kind, len(place)
    return found


def _sqlite(address: URL) -> Iterator[Found]:
    path = Path(address.database or "").absolute()
    mounts = Path("/proc/mounts")
    kind = filesystem_of(path.resolve(), mounts.read_text()) if mounts.exists() else ""
    if kind.startswith(NETWORK_FILESYSTEMS):
        text = f"SQLite on a network filesystem ({kind}) may lose or spoil data: use a local disk"
        yield "bad", text
    yield "ok", f"SQLite, {path}" if path.exists() else f"SQLite, {path} (made at the first start)"


def _postgres(address: URL) -> Iterator[Found]:
    engine = create_engine(address, connect_args=connect_arguments(address), hide_parameters=True)
    try:
        with engine.connect() as connection:
            yield from _settings(connection)
    except (DBAPIError, psycopg.Error) as error:
        reason = refusal(error) if isinstance(error, DBAPIError) else None
        where = f"{address.host or 'localhost'}:{address.port or 5432}"
        yield "bad", reason or f"PostgreSQL at {where} does not answer: is it running?"
    finally:
        engine.dispose()


def _settings(connection: Connection) -> Iterator[Found]:
    def setting(name: str) -> str:
        return str(connection.exec_driver_sql(f"SHOW {name}").scalar_one())

    revision = MigrationContext.configure(connection).get_current_revision()
    state = f"at revision {revision}" if revision else "without tables (made at the first start)"
    yield "ok", f"PostgreSQL {setting('server_version')}, {state}"
    if setting("server_encoding") != "UTF8":
        yield (
            "bad",
            "its encoding is not UTF8: CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'",
        )
    for name in ("fsync", "full_page_writes"):
        if setting(name) != "on":
            yield (
                "bad",
                f"{name} is off there: if its machine crashes, the database is lost or spoilt",
            )
