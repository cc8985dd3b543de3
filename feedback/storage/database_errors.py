"""Whether an error is the database's fault, so that the same row may succeed later. Pure."""

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
"""PostgreSQL's class of limits that a row itself exceeds: an operational error by name only."""
_SCHEMA_OR_RIGHTS = frozenset({"42P01", "42703", "42501", "3F000"})
"""PostgreSQL: no such table, column or schema, or no right to it."""


def is_outage(error: BaseException) -> bool:
    """Whether the database is to blame and the same row may succeed later.

    Down, locked, full, damaged, too slow (`TimeoutError`), or without the tables: no row is at
    fault for any of these.
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
