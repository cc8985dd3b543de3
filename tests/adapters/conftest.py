"""Fixtures of the registry's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.database.database import Database
from tests.adapters.servers import Servers
from tests.adapters.world import World


@pytest.fixture
async def unstarted(tmp_path: Path, database: Database) -> AsyncIterator[World]:
    """A registry before its first start."""
    world = World(tmp_path, database)
    yield world
    await world.registry.close()


@pytest.fixture
async def world(unstarted: World) -> World:
    """A registry that is started, serving the base model."""
    await unstarted.registry.start()
    return unstarted


@pytest.fixture
async def servers(tmp_path: Path, database: Database) -> AsyncIterator[Servers]:
    """Servers that share a database and a folder of adapters; none is made yet."""
    shared = Servers(tmp_path, database)
    yield shared
    await shared.close()
