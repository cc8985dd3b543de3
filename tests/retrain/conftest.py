"""Fixtures of the weekly run's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.db import Database
from tests.retrain.world import House, make_config


@pytest.fixture
async def house(tmp_path: Path, database: Database) -> AsyncIterator[House]:
    """A channel with a week of feedback, and everything a run touches."""
    house = House(database, tmp_path / "runs", make_config())
    await house.open()
    yield house
    await house.close()
