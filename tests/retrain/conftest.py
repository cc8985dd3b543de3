"""Fixtures of the weekly run's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.database_fixture import make_database
from tests.retrain.world import House, make_config


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A channel with a week of feedback, and everything a run touches."""
    database = await make_database(tmp_path)
    house = House(database, tmp_path / "runs", make_config())
    await house.open()
    yield house
    await house.close()
