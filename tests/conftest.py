"""Fixtures that every room's tests may ask for."""

from typing import Any

import pytest

from tests.database_fixture import backend, database, database_url, sqlite_template
from tests.engine_fixtures import real_engine, tiny_model
from tests.postgres_fixture import postgres

__all__ = [
    "anyio_backend",
    "backend",
    "database",
    "database_url",
    "postgres",
    "real_engine",
    "sqlite_template",
    "tiny_model",
]


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One event loop for the whole session, so that a session's fixtures can be asynchronous."""
    return "asyncio", {"use_uvloop": False}
