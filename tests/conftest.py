"""Fixtures for all tests, and Hypothesis's profiles."""

import os
from typing import Any

import pytest
from hypothesis import settings

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

# No deadlines, so that a busy machine fails no test. CI draws the same examples each time, so that
# a failure there comes from the commit. `--hypothesis-profile=fast` is for the inner loop.
settings.register_profile("pawl", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("fast", deadline=None, max_examples=25)
settings.load_profile("ci" if os.environ.get("CI") else "pawl")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One event loop for the whole session, so that a session's fixtures can be asynchronous."""
    return "asyncio", {"use_uvloop": False}
