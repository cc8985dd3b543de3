"""Migrations: they make what the models say, from every revision, and can be run again."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlmodel import SQLModel

import adapters.models
import feedback.models
import retrain.models
import server.models
from server.database.database import Database, sqlite_url
from server.database.migrate import alembic_config, upgrade
from server.errors import SetupError
from tests.postgres_fixture import TestDatabases

pytestmark = pytest.mark.anyio
TABLES = (adapters.models, feedback.models, retrain.models, server.models)
REVISIONS = sorted(
    script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()
)
VALUES: list[tuple[type[sa.types.TypeEngine[Any]], Any]] = [
    (sa.Boolean, True),
    (sa.Integer, 7),
    (sa.Float, 0.5),
    (sa.DateTime, datetime(2026, 11, 21, 12, 30, 15, 123456, tzinfo=UTC)),
    (sa.LargeBinary, b"\x00\xff"),
    (sa.JSON, {"a": [1, None]}),
    (sa.String, "x"),
]
Result = TypeVar("Result")


@pytest.fixture
def empty_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a database without tables."""
    if backend == "sqlite":
        yield sqlite_url(tmp_path / "pawl.db")
    else:
        databases: TestDatabases = request.getfixturevalue("postgres")
        with databases.database(empty=True) as url:
            yield url


async def done(url: str, work: Callable[[Connection], Result]) -> Result:
    """What `work` gives on that database."""
    database = Database(url)
    try:
        return await database.transaction(work)
    finally:
        await database.close()


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, SQLModel.metadata))


def tables_of(connection: Connection) -> list[sa.Table]:
    """Pawl's tables as they are in the database, parents first."""
    found = sa.MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != "alembic_version"]


def fill(connection: Connection) -> dict[str, int]:
    """Put a row into each table; rows by table."""
    for table in tables_of(connection):
        row = {column.name: value_of(column) for column in table.columns}
        connection.execute(table.insert(), [row])
    return counted(connection)


def value_of(column: sa.Column[Any]) -> Any:
    value = next(value for kind, value in VALUES if isinstance(column.type, kind))
    naive = isinstance(value, datetime) and not getattr(column.type, "timezone", False)
    return value.replace(tzinfo=None) if naive else value


def counted(connection: Connection) -> dict[str, int]:
    return {
        table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        for table in tables_of(connection)
    }


async def test_models_and_migrations_agree(empty_url: str) -> None:
    await upgrade(empty_url)
    assert await done(empty_url, differences) == []


async def test_a_second_upgrade_changes_nothing(empty_url: str) -> None:
    await upgrade(empty_url)
    before = await done(empty_url, fill)
    await upgrade(empty_url)
    assert await done(empty_url, counted) == before
    assert {"interaction", "choice", "feedback", "version", "route", "run", "api_key"} <= set(
        before
    )


@pytest.mark.parametrize("revision", REVISIONS)
async def test_every_revision_is_brought_up_with_its_rows(empty_url: str, revision: str) -> None:
    await upgrade(empty_url, revision)
    before = await done(empty_url, fill)
    assert set(before.values()) == {1}
    await upgrade(empty_url)
    after = await done(empty_url, counted)
    assert {name: after[name] for name in before} == before
    assert await done(empty_url, differences) == []


async def test_a_newer_databases_revision_is_refused(empty_url: str) -> None:
    await upgrade(empty_url)
    newer = sa.text("UPDATE alembic_version SET version_num = '9999'")
    await done(empty_url, lambda at: at.execute(newer))
    with pytest.raises(SetupError, match=r"revision 9999.*newer"):
        await upgrade(empty_url)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_servers_that_start_at_once_migrate_one_after_the_other(empty_url: str) -> None:
    await asyncio.gather(*(upgrade(empty_url) for _ in range(5)))
    assert await done(empty_url, differences) == []
