"""Reads a whole database as it was at one moment, while others write to it.

It goes past a running server: a reader of its own changes nothing and takes no time of the server's
event loop. SQLite is opened read-only, so that this connection can neither write nor checkpoint.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import (
    Connection,
    Engine,
    MetaData,
    Select,
    Table,
    Text,
    cast,
    create_engine,
    func,
    select,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from server.database.database import database_address
from server.database.postgres import connect_arguments
from server.maintenance.backup.errors import BackupError
from server.maintenance.backup.manifest import Column
from server.maintenance.backup.rows import kind_of

REVISIONS = "alembic_version"
BATCH = 1000
BUSY_SECONDS = 30


@contextmanager
def snapshot(url: str) -> Iterator[Connection]:
    """A connection all of whose queries see the same moment; raises `BackupError`."""
    address = database_address(url)
    if address.get_backend_name() == "sqlite":
        engine = _sqlite(address)
    else:
        engine = create_engine(
            address,
            poolclass=NullPool,
            connect_args=connect_arguments(address),
            hide_parameters=True,
        )
    try:
        with engine.connect() as connection:
            yield _frozen(connection)
    except SQLAlchemyError as error:
        raise BackupError(
            f"the database cannot be read ({type(error).__name__}): see that it answers"
        ) from error
    finally:
        engine.dispose()


def tables_of(connection: Connection) -> dict[str, Table]:
    """The tables as they are, in the order in which they can be filled; Alembic's own is left out.

    They are looked at, not taken from the code, which may be newer.
    """
    metadata = MetaData()
    metadata.reflect(connection)
    return {table.name: table for table in metadata.sorted_tables if table.name != REVISIONS}


def revision_of(connection: Connection) -> str | None:
    """The newest migration that was run; None on a database that has none."""
    if not connection.dialect.has_table(connection, REVISIONS):
        return None
    found = connection.exec_driver_sql(f"SELECT version_num FROM {REVISIONS}").scalar()  # noqa: S608
    return None if found is None else str(found)


def columns_of(table: Table) -> list[Column]:
    """The columns as a backup writes them."""
    return [Column(name=column.name, kind=kind_of(column.type)) for column in table.columns]


def count(connection: Connection, table: Table) -> int:
    """How many rows there are."""
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def rows_of(connection: Connection, table: Table) -> Iterator[tuple[object, ...]]:
    """Stream the rows; JSON columns as their text."""
    found = connection.execution_options(yield_per=BATCH).execute(_select(table))
    for batch in found.partitions():
        for row in batch:
            yield tuple(row)


def _select(table: Table) -> Select[tuple[object, ...]]:
    return select(
        *(
            cast(column, Text).label(column.name) if kind_of(column.type) == "json" else column
            for column in table.columns
        )
    )


def _sqlite(address: URL) -> Engine:
    path = Path(address.database or "")
    if not path.is_file():
        raise BackupError(f"there is no database {path}: name the data_dir of the server")
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
        )

    return create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)


def _frozen(connection: Connection) -> Connection:
    """From the first query on, nothing that others commit is seen."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
        return connection
    return connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
