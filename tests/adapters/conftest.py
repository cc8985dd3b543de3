"""Fixtures of the registry's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.world import World
from tests.database_fixture import make_database


@pytest.fixture
async def unstarted(tmp_path: Path) -> AsyncIterator[World]:
    """A registry before its first start."""
    database = await make_database(tmp_path)
    world = World(tmp_path, database)
    yield world
    await world.registry.close()
    await database.close()


@pytest.fixture
async def world(unstarted: World) -> World:
    """A registry that is started, serving the base model."""
    await unstarted.registry.start()
    return unstarted
