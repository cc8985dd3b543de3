"""Both engines, for the contract."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.engine.base import Engine
from server.engine.fake.engine import FakeEngine
from tests.engine_fixtures import REAL_ENGINE
from tests.server.engine.calls import fresh_name, random_adapter


@pytest.fixture(params=["fake", pytest.param("vllm", marks=REAL_ENGINE)])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "fake":
        return FakeEngine()
    real: Engine = request.getfixturevalue("real_engine")
    return real


@pytest.fixture
async def version(engine: Engine, tmp_path: Path, tiny_model: Path) -> AsyncIterator[str]:
    """A resident adapter version."""
    name = fresh_name()
    await engine.load(name, random_adapter(tmp_path / name, tiny_model))
    yield name
    await engine.unload(name)
