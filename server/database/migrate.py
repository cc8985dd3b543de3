"""Migrates a database to the newest revision (`pawl db upgrade`, and at each startup)."""

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from server.database.database import database_address
from server.database.postgres import MIGRATION_LOCK, open_async, refusal
from server.database.statistics import renew_statistics
from server.errors import SetupError


def alembic_config() -> Config:
    """Return Alembic's configuration, which finds the migrations in the installed package."""
    config = Config()
    config.set_main_option("script_location", str(files("server") / "migrations"))
    return config


async def upgrade(url: str, revision: str = "head") -> None:
    """Run the missing migrations of the database at `url`, up to `revision`.

    If several servers start on one PostgreSQL, one migrates and the others wait for it.

    Raises:
        SetupError: If the database refuses the login or is newer than this code.
        DBAPIError: If the database does not answer.

    """
    engine = _engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, revision)
    except DBAPIError as error:
        reason = refusal(error)
        if reason is None:
            raise
        raise SetupError(reason) from None
    finally:
        await engine.dispose()


def _engine(url: str) -> AsyncEngine:
    address = database_address(url)
    if address.get_backend_name() == "sqlite":
        return create_async_engine(address, hide_parameters=True)
    return open_async(address, pool_size=1)


def _upgrade(connection: Connection, revision: str) -> None:
    if connection.dialect.name == "postgresql":
        _check_encoding(connection)
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
    config = alembic_config()
    _check_known(connection, ScriptDirectory.from_config(config))
    config.attributes["connection"] = connection
    before = _revision_of(connection)
    command.upgrade(config, revision)
    if _revision_of(connection) != before:  # the planner uses a new index only with statistics
        renew_statistics(connection)


def _revision_of(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _check_known(connection: Connection, scripts: ScriptDirectory) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    current = _revision_of(connection)
    if current is not None and current not in known:
        raise SetupError(
            f"the database is at revision {current}, which this version of Pawl does not know: "
            "a newer one has migrated it; install that one, or restore the backup made before"
        )


def _check_encoding(connection: Connection) -> None:
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise SetupError(
            f"the database keeps text as {encoding}, which has no place for every language: make "
            "one with CREATE DATABASE pawl TEMPLATE template0 ENCODING 'UTF8'"
        )
