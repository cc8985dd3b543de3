"""Which errors are the database's fault, and which a row's."""

import sqlite3

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import exc

from feedback.errors import SpoolUnavailableError
from feedback.storage.database_errors import is_outage
from server.database.errors import DatabaseAwayError

pytestmark = pytest.mark.pure

OUTAGES = [
    exc.OperationalError("", {}, sqlite3.OperationalError("database is locked")),
    exc.OperationalError("", {}, sqlite3.OperationalError("database or disk is full")),
    exc.OperationalError("", {}, errors.AdminShutdown()),
    exc.OperationalError("", {}, errors.DiskFull()),
    exc.OperationalError("", {}, psycopg.OperationalError("connection refused")),
    exc.InternalError("", {}, errors.ReadOnlySqlTransaction()),
    exc.DatabaseError("", {}, sqlite3.DatabaseError("database disk image is malformed")),
    exc.ProgrammingError("", {}, errors.UndefinedTable()),
    exc.ProgrammingError("", {}, errors.InsufficientPrivilege()),
    exc.InterfaceError("", {}, psycopg.InterfaceError(), connection_invalidated=True),
    exc.TimeoutError(),
    DatabaseAwayError(),
    SpoolUnavailableError(),
    TimeoutError(),
    ConnectionResetError(),
]
ROWS_FAULTS = [
    exc.IntegrityError("", {}, sqlite3.IntegrityError("NOT NULL constraint failed")),
    exc.DataError("", {}, errors.NumericValueOutOfRange()),
    exc.ProgrammingError("", {}, psycopg.ProgrammingError("cannot adapt type")),
    exc.OperationalError("", {}, errors.ProgramLimitExceeded()),
    OverflowError(),
    ValueError(),
]


def name(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return f"{type(error).__module__} {type(cause).__module__} {type(cause).__name__} {cause}"


@pytest.mark.parametrize("error", OUTAGES, ids=name)
def test_it_is_an_outage(error: Exception) -> None:
    assert is_outage(error)


@pytest.mark.parametrize("error", ROWS_FAULTS, ids=name)
def test_it_is_the_rows_fault(error: Exception) -> None:
    assert not is_outage(error)
