"""Runs for tests, either finished or interrupted."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from retrain.models import Run
from retrain.run.steps import STEPS
from retrain.schemas import RunOut
from retrain.service import RunService
from tests.retrain.log import CHANNEL
from tests.retrain.world import SATURDAY, House
from tests.waiting import eventually

RUN = "pawl-2026-w47.1"


def left_run(**more: Any) -> Run:
    """Return the row of an unfinished run without an owner."""
    values: dict[str, Any] = {
        "id": RUN,
        "channel": CHANNEL,
        "tenant": "shop",
        "slot": "2026-w47",
        "attempt": 1,
        "trigger": "manual",
        "state": "running",
        "step": "snapshot",
        "created_at": SATURDAY,
        "fence": 1,
        "figures": {},
    }
    return Run(**{**values, **more})


async def ran(house: House, **more: Any) -> RunOut:
    service = house.service()
    started = await service.start_run(CHANNEL, **more)
    return await service.wait(started.id)


def stop_at(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Make the process die at the start of a step; what is written by then stays."""

    async def dies(context: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setitem(STEPS, name, dies)


async def taken_up(house: House, service: RunService) -> list[str]:
    """Let the service see the lease unchanged for its whole length, so that it takes over."""
    assert await service.resume() == []
    house.clock.forward(seconds=house.config.lease_seconds)
    return await service.resume()


async def interrupted(house: House, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Create a run whose owner died at the start of `step`."""
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        service = house.service()
        run = await service.start_run(CHANNEL)
        await service.wait(run.id)


async def interrupted_after(house: House, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Create a run whose owner died after `step` was done but before that was recorded."""
    original = STEPS[step]

    async def dies(context: Any) -> None:
        await original(context)
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setitem(STEPS, step, dies)
        service = house.service()
        await service.start_run(CHANNEL)
        await service.wait(RUN)


async def reached(house: House, service: RunService, folder_entry: str, run: str = RUN) -> None:
    """Wait for a file of the run."""
    path = house.folder / run / folder_entry
    await eventually(lambda: asyncio.to_thread(_filled, path))


def _filled(path: Path) -> bool:
    return path.exists() and b"dropped" in path.read_bytes()
