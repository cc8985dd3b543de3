"""PostgreSQL (psycopg 3): commits that are durable, and dead connections noticed within seconds.

It behaves as SQLite does here. What `write` reads is still true when it commits, for writers of all
servers wait for one lock; readers see one moment of the database, and cannot write. The log's own
transactions take no lock: they are made for rows that another server wrote meanwhile.
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
"""So long a database may keep silent on the network before its connection counts as dead."""
POOL_TIMEOUT_SECONDS = 10

WRITERS_LOCK = 0x7061776C_01
"""Held by whoever writes, on all servers (`pg_advisory_xact_lock`): "pawl", 1."""
MIGRATION_LOCK = 0x7061776C_02
"""Held by whoever migrates."""

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
"""libpq's parameters; the address may set others."""

_ALL = (
    "SET timezone = 'UTC'",
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')",
)
_WRITERS = (
    # A server that is paused within a transaction must not stop the others for long.
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
"""Options of libpq with fixed values, which it checks only when it connects."""
_INSUFFICIENT_PRIVILEGE = "42501"


def check_postgres(url: URL) -> None:
    """Raises `SetupError` for an address with a port or an option that libpq does not know."""
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
    """Connections to the database that `url` names; none is made before it is needed."""
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
    """An engine whose connections notice a dead database; sessions are left as they are."""
    return create_async_engine(url, pool_size=pool_size, **_options(url))


def connect_arguments(url: URL) -> dict[str, Any]:
    """What a connection is made with, beside what the address itself says."""
    return {name: value for name, value in _CONNECTION.items() if name not in url.query}


def refusal(error: DBAPIError) -> str | None:
    """Why the database will not have us, however often we come back; None for all else.

    The text is ours: what the database says may hold the address. It tells refused logins by
    libpq's English messages, for libpq keeps the code to itself.
    """
    said = str(error.orig) if isinstance(error, OperationalError) else ""
    forbidden = getattr(error.orig, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE
    if forbidden or any(words in said for words in _REFUSALS):
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
    """PostgreSQL's details quote the row that it refused, which may come to stand in a log."""

    @event.listens_for(engine, "handle_error")
    def _on_error(context: ExceptionContext) -> None:
        error, wrapped = context.original_exception, context.sqlalchemy_exception
        said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        if said is not None:
            error.args = (said,)
        if said is not None and wrapped is not None:
            wrapped.args = (f"({type(error).__name__}) {said}",)
