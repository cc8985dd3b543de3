"""PostgreSQL through psycopg 3, with durable commits and fast detection of dead connections.

Sessions have the same guarantees as on SQLite: write transactions of all servers are serialised by
an advisory lock, and readers see a consistent snapshot and cannot write. The log's transactions
take no lock, because they handle rows that another server writes concurrently.
"""

from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from server.database.connections import Connections, to_json
from server.database.hung_connections import HungConnections
from server.errors import SetupError

DRIVER = "postgresql+psycopg"
READERS = 4
SEEN_DEAD_SECONDS = 5
"""Seconds without a response on the network after which a connection counts as dead."""
POOL_TIMEOUT_SECONDS = 10
"""Seconds that a session waits for a free connection."""

WRITERS_LOCK = 0x7061776C_01
"""Key of the advisory lock (`pg_advisory_xact_lock`) that write transactions of all servers take:
"pawl", then 1."""
MIGRATION_LOCK = 0x7061776C_02
"""Key of the advisory lock that a migration takes."""

_CONNECTION: dict[str, Any] = {
    "application_name": "pawl",
    "connect_timeout": SEEN_DEAD_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": SEEN_DEAD_SECONDS * 1000,
    "target_session_attrs": "read-write",
}
"""libpq's default parameters; the address overrides them."""

_ALL = (
    "SET timezone = 'UTC'",
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')",
)
_WRITERS = (
    # A server that is paused in a transaction must not block the others for long.
    "SET idle_in_transaction_session_timeout = '10s'",
    "SET lock_timeout = '15s'",
)
_READERS = (
    "SET default_transaction_read_only = on",
    "SET default_transaction_isolation = 'repeatable read'",
)

_REFUSALS = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "permission denied",
    "is not permitted to log in",
)
_HIGHEST_PORT = 65_535
_CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "read-write", "primary", "prefer-standby"),
}
"""Allowed values of libpq options that libpq itself checks only when it connects."""
_INSUFFICIENT_PRIVILEGE = "42501"


def check_postgres(url: URL) -> None:
    """Raise `SetupError` for an address with an invalid port or an unknown libpq option."""
    if url.port is not None and not 0 < url.port <= _HIGHEST_PORT:
        raise SetupError(f"database_url: there is no port above {_HIGHEST_PORT}: correct it")
    try:
        psycopg.conninfo.make_conninfo(**{name: str(value) for name, value in url.query.items()})
    except psycopg.ProgrammingError as error:
        raise SetupError("database_url: PostgreSQL does not know one of the options") from error
    for name, values in _CHOICES.items():
        if name in url.query and url.query[name] not in values:
            raise SetupError(f"database_url: {name} is one of {', '.join(values)}")


def open_postgres(url: URL) -> Connections:
    """Create the connection pools of the database at `url`; they connect on first use."""
    writer, reader = open_async(url, pool_size=1), open_async(url, pool_size=READERS)
    probe = open_async(url, pool_size=1)
    direct = create_engine(url, pool_size=1, **_options(url))
    silence = HungConnections(
        {**writer.dialect.create_connect_args(url)[1], **connect_arguments(url)}
    )
    for engine in (writer.sync_engine, reader.sync_engine, probe.sync_engine, direct):
        silence.follow(engine)
        _keep_texts_out_of_errors(engine)
    _configure(writer.sync_engine, (*_ALL, *_WRITERS))
    _configure(reader.sync_engine, (*_ALL, *_READERS))
    _configure(direct, (*_ALL, *_WRITERS))
    _take_lock(writer)
    return Connections(writer, reader, direct, probe, one_turn=False, silence=silence)


def open_async(url: URL, *, pool_size: int) -> AsyncEngine:
    """Create an engine with Pawl's connection parameters, but without its session settings."""
    return create_async_engine(url, pool_size=pool_size, **_options(url))


def connect_arguments(url: URL) -> dict[str, Any]:
    """Return the connection parameters that the address does not set itself."""
    return {name: value for name, value in _CONNECTION.items() if name not in url.query}


def refusal(error: DBAPIError) -> str | None:
    """Return a message for errors that retrying cannot fix (a refused login); None for others.

    The database's own message is not used, because it may contain the address. Refused logins are
    recognised by libpq's English messages, because libpq does not expose their SQLSTATE.
    """
    message = str(error.orig) if isinstance(error, OperationalError) else ""
    forbidden = getattr(error.orig, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE
    if forbidden or any(words in message for words in _REFUSALS):
        return (
            "the database refuses the login: check user, password and database in database_url "
            "(PAWL_DATABASE_URL), and that the user may connect and create tables"
        )
    return None


def _options(url: URL) -> dict[str, Any]:
    return {
        "connect_args": connect_arguments(url),
        "max_overflow": 0,
        "pool_timeout": POOL_TIMEOUT_SECONDS,
        "pool_pre_ping": True,
        "hide_parameters": True,
        "json_serializer": to_json,
        "use_native_hstore": False,
    }


def _configure(engine: Engine, statements: tuple[str, ...]) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()
        connection.commit()


def _take_lock(writer: AsyncEngine) -> None:
    @event.listens_for(writer.sync_engine, "begin")
    def _on_begin(connection: Any) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS_LOCK})")


def _keep_texts_out_of_errors(engine: Engine) -> None:
    """Reduce errors to their primary message: PostgreSQL's details quote the refused row."""

    @event.listens_for(engine, "handle_error")
    def _on_error(context: ExceptionContext) -> None:
        error, wrapped = context.original_exception, context.sqlalchemy_exception
        primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        if primary is not None:
            error.args = (primary,)
        if primary is not None and wrapped is not None:
            wrapped.args = (f"({type(error).__name__}) {primary}",)
