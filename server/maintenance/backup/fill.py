"""Writes the rows of a backup into an empty database, in one transaction."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from psycopg import sql
from sqlalchemy import (
    Connection,
    Engine,
    LargeBinary,
    TableClause,
    column,
    create_engine,
    event,
    insert,
    select,
    table,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.types import NullType, TypeEngine
from sqlmodel import UTCDateTime

from server.database.database import database_address
from server.database.postgres import WRITERS_LOCK, connect_arguments
from server.maintenance.backup.errors import BackupError
from server.maintenance.backup.manifest import Kind, TableRecord
from server.maintenance.backup.snapshot import revision_of, tables_of

BATCH = 1000
"""Rows of one INSERT (SQLite)."""
Row = Sequence[Any]


@contextmanager
def writing(url: str) -> Iterator[Connection]:
    """Open a write transaction that commits durably at the block's end; raises `BackupError`."""
    engine = _engine(database_address(url))
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":  # no server's write interleaves
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS_LOCK})")
            yield connection
    except SQLAlchemyError as error:
        raise BackupError(
            f"the database could not be written ({type(error).__name__}): nothing was restored"
        ) from error
    finally:
        engine.dispose()


def check_empty(connection: Connection, revision: str) -> None:
    """Raise `BackupError` if any table has rows, or the tables are of another revision."""
    for name, found in tables_of(connection).items():
        if connection.execute(select(1).select_from(found).limit(1)).first() is not None:
            raise BackupError(
                f"the database is not empty (table {name}): restore into a new data_dir or a new "
                "database; nothing was changed"
            )
    if revision_of(connection) not in (None, revision):
        raise BackupError(
            "the empty database has tables of another revision than the backup: restore into one "
            "without tables"
        )


def fill(connection: Connection, record: TableRecord, rows: Iterator[Row]) -> int:
    """Write the rows of one table; return their number."""
    if connection.dialect.name == "postgresql":
        return _copy(connection, record, rows)
    return _insert(connection, record, rows)


def _insert(connection: Connection, record: TableRecord, rows: Iterator[Row]) -> int:
    statement, written = insert(_clause(record)), 0
    names = [column.name for column in record.columns]
    while batch := [dict(zip(names, row, strict=True)) for row in islice(rows, BATCH)]:
        connection.execute(statement, batch)
        written += len(batch)
    return written


def _clause(record: TableRecord) -> TableClause:
    """Return the table with types that write values unchanged, such as JSON columns as text."""
    return table(record.name, *(column(one.name, _TYPES[one.kind]()) for one in record.columns))


_TYPES: dict[Kind, Callable[[], TypeEngine[Any]]] = {
    "plain": NullType,
    "json": NullType,
    "time": UTCDateTime,
    "bytes": LargeBinary,
}


def _copy(connection: Connection, record: TableRecord, rows: Iterator[Row]) -> int:
    statement, written = _copy_statement(record), 0
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
            written += 1
    return written


def _copy_statement(record: TableRecord) -> sql.Composed:
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in record.columns)
    return sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(record.name), names)


def _engine(address: URL) -> Engine:
    if address.get_backend_name() != "sqlite":
        return create_engine(
            address,
            poolclass=NullPool,
            connect_args=connect_arguments(address),
            hide_parameters=True,
        )
    engine = create_engine(
        address.set(drivername="sqlite"), poolclass=NullPool, hide_parameters=True
    )
    _configure_sqlite(engine)
    return engine


def _configure_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins only at the first write
        for pragma in ("foreign_keys=ON", "journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
