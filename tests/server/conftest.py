"""A running app for the server's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.server.comparing import WHO, version
from tests.server.running_app import RunningApp, running_app
from tests.server.shadowing import WITH_ROOM, HungShadow, hang_shadow, with_shadow


@pytest.fixture
async def running(anyio_backend: object, tmp_path: Path) -> AsyncIterator[RunningApp]:
    """An app on the fake engine, without keys: open to this machine."""
    async with running_app(tmp_path / "data") as app:
        yield app


@pytest.fixture
async def canary(running: RunningApp, tmp_path: Path) -> str:
    """The channel's canary; live is the base model."""
    name = await version(running, tmp_path, 1)
    await running.services.registry.set_canary(name, 0.5, **WHO)
    return name


@pytest.fixture
async def shadowed(anyio_backend: object, tmp_path: Path) -> AsyncIterator[tuple[RunningApp, str]]:
    """Yield an app that shadows every live answer, and the shadow's version."""
    del anyio_backend
    async with running_app(tmp_path / "data", **WITH_ROOM) as running:
        yield running, await with_shadow(running, tmp_path)


@pytest.fixture
def hung(shadowed: tuple[RunningApp, str], monkeypatch: pytest.MonkeyPatch) -> HungShadow:
    return hang_shadow(*shadowed, monkeypatch)
