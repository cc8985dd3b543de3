"""Tells outages of the database, after which a row may succeed later, from refused rows. Pure."""

from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    InternalError,
    OperationalError,
    ProgrammingError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from feedback.errors import SpoolUnavailableError

_ROW_TOO_LARGE = "54"
"""PostgreSQL's error class \"program limit exceeded\": the row is to blame, although the driver
raises an `OperationalError`."""
_SCHEMA_OR_RIGHTS = frozenset({"42P01", "42703", "42501", "3F000"})
"""PostgreSQL's codes for a missing table, column or schema, or a missing privilege."""


def is_outage(error: BaseException) -> bool:
    """Return whether the database is to blame, so that the same row may succeed later.

    That is so if it is down, locked, full, damaged, too slow (`TimeoutError`) or lacks the tables.
    """
    if isinstance(error, DBAPIError):
        return _is_databases_fault(error)
    if isinstance(error, PoolTimeoutError | OSError | SpoolUnavailableError):
        return True
    return isinstance(error, StatementError) and getattr(error, "connection_invalidated", False)


def _is_databases_fault(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None) or ""
    if isinstance(error, ProgrammingError):
        return state in _SCHEMA_OR_RIGHTS or error.connection_invalidated
    if isinstance(error, OperationalError | InternalError):
        return not state.startswith(_ROW_TOO_LARGE)
    # SQLite reports a damaged file with the bare class.
    return type(error) is DatabaseError or error.connection_invalidated
