"""Reads a consistent snapshot of a database while others write to it.

It connects to the database directly instead of asking a running server, so it takes no time of the
server's event loop. SQLite is opened read-only: this connection can neither write nor checkpoint.
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
"""Rows that are fetched at once."""
BUSY_SECONDS = 30
"""Seconds that SQLite waits for another process's lock."""


@contextmanager
def snapshot(url: str) -> Iterator[Connection]:
    """Open a connection whose queries all see the same snapshot; raises `BackupError`."""
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
            f"the database cannot be read ({type(error).__name__}): check that it runs"
        ) from error
    finally:
        engine.dispose()


def tables_of(connection: Connection) -> dict[str, Table]:
    """Return the database's tables, parents first, without Alembic's own.

    They are read from the database, because the code's models may be newer.
    """
    metadata = MetaData()
    metadata.reflect(connection)
    return {table.name: table for table in metadata.sorted_tables if table.name != REVISIONS}


def revision_of(connection: Connection) -> str | None:
    """Return the revision of the database; None if it has none."""
    if not connection.dialect.has_table(connection, REVISIONS):
        return None
    found = connection.exec_driver_sql(f"SELECT version_num FROM {REVISIONS}").scalar()  # noqa: S608
    return None if found is None else str(found)


def columns_of(table: Table) -> list[Column]:
    """Return the columns of a table for the manifest."""
    return [Column(name=column.name, kind=kind_of(column.type)) for column in table.columns]


def count(connection: Connection, table: Table) -> int:
    """Return the number of rows."""
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def rows_of(connection: Connection, table: Table) -> Iterator[tuple[object, ...]]:
    """Stream the rows, with JSON columns as text."""
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
    """Start a transaction that does not see later commits."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
        return connection
    return connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
