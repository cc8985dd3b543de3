"""Databases for tests, with all tables, opened as the server opens them.

A test that uses `database` or `database_url` runs on SQLite and on PostgreSQL. Use
`@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)` for a test that needs only one.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlmodel import SQLModel

import adapters.models  # noqa: F401  (these imports register all tables)
import feedback.models  # noqa: F401
import retrain.models  # noqa: F401
from server.database.database import Database, sqlite_url
from server.database.migrate import upgrade
from tests.postgres_fixture import TestDatabases

__all__ = [
    "backend",
    "database",
    "database_url",
    "make_database",
    "sqlite_template",
]


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """Which database a test runs on."""
    return str(request.param)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the tables that the migrations make."""
    path = tmp_path_factory.mktemp("template") / "pawl.sqlite"
    asyncio.run(upgrade(sqlite_url(path)))
    return path


@pytest.fixture
def database_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a new, migrated database."""
    if backend == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        yield sqlite_url(Path(shutil.copy(template, tmp_path / "pawl.sqlite")))
    else:
        databases: TestDatabases = request.getfixturevalue("postgres")
        with databases.database() as url:
            yield url


@pytest.fixture
async def database(database_url: str, anyio_backend: object) -> AsyncIterator[Database]:
    """A new, migrated database."""
    made = Database(database_url)
    yield made
    await made.close()


async def make_database(folder: Path) -> Database:
    """A new SQLite database in `folder`, with all tables: for tests that make many."""
    path = folder / "pawl.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    SQLModel.metadata.create_all(engine)
    engine.dispose()
    return Database(sqlite_url(path))
