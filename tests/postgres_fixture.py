"""PostgreSQL for tests: one server for each process of pytest, one database for each test.

It never syncs to disk; tests of durability start one of their own (`bench.support.postgres`).
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from bench.support.postgres import UNSYNCED, PostgresServer, running_postgres
from server.database.migrate import upgrade

_TEMPLATE = "pawl_template"


class TestDatabases:
    """Makes databases on one server, with the tables that the migrations make, or empty."""

    __test__ = False

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._numbers = count(1)
        server.execute(f"CREATE DATABASE {_TEMPLATE}")
        asyncio.run(upgrade(server.url(_TEMPLATE)))

    @contextmanager
    def database(self, *, empty: bool = False) -> Iterator[str]:
        """Yield the URL of a new database, which is dropped at the end despite open connections."""
        name = f"test_{next(self._numbers)}"
        template = "template0" if empty else _TEMPLATE
        self.server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.server.url(name)
        finally:
            self.server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgres() -> Iterator[TestDatabases]:
    """Yield a PostgreSQL server, started for the first test that needs it."""
    with running_postgres(UNSYNCED) as server:
        yield TestDatabases(server)
