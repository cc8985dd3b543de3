"""Fixtures of the weekly run's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from retrain.rollout import service as rollout_service
from server.database.database import Database
from tests.database_fixture import make_database
from tests.retrain.rollout_stage import CANARY, Stage
from tests.retrain.world import House, make_config


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Yield a channel with a week of feedback, and everything that a run uses."""
    house = House(await make_database(tmp_path), tmp_path / "runs", make_config())
    await house.open()
    yield house
    await house.close()


@pytest.fixture
async def shared_house(tmp_path: Path, database: Database) -> AsyncIterator[House]:
    """The same on SQLite and on PostgreSQL, where several servers share the database."""
    house = House(database, tmp_path / "runs", make_config())
    await house.open()
    yield house
    await house.close()


@pytest.fixture
async def stage(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    """Yield a rollout's stage on which no tick is skipped, however slow the machine is."""
    monkeypatch.setattr(rollout_service, "_SLOW_SECONDS", float("inf"))
    house = House(database, tmp_path / "runs", make_config(rollout="canary", canary=CANARY))
    await house.open()
    yield Stage(house)
    await house.close()
