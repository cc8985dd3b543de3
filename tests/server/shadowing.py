"""An app with a shadow, for the shadow's tests."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from server.engine.base import EngineCall, EngineResponse
from tests.adapters.adapter_files import make_adapter
from tests.server.running_app import RunningApp
from tests.server.serving.test_last_byte import database_of, rows
from tests.waiting import eventually, until

FIELDS = (
    *("id", "parent", "role", "version", "model", "requested_model", "user", "tenant", "trial"),
    *("status", "request", "endpoint"),
)


async def add_version(running: RunningApp, folder: Path, seed: int = 0) -> str:
    """A candidate, resident."""
    adapter = str(make_adapter(folder / f"adapter-{seed}", seed))
    added = await running.operator.post("/v1/adapters", json={"path": adapter})
    version: str = added.json()["name"]
    return version


async def set_route(running: RunningApp, **fields: Any) -> None:
    wanted = {"reason": "a test", **fields}
    changed = await running.operator.put("/v1/route", json=wanted)
    assert changed.status_code == 200


async def with_shadow(running: RunningApp, folder: Path, share: float = 1.0) -> str:
    """A version that is the shadow of `pawl`."""
    version = await add_version(running, folder)
    await set_route(running, shadow=version, shadow_share=share)
    return version


WITH_ROOM: dict[str, Any] = {"server": {"shadow": {"busy_streams": 100}}}


async def counted(running: RunningApp) -> dict[str, int]:
    """What became of what was drawn for the shadow, without zeros."""
    metric = running.services.metrics.shadow.outcomes
    samples = next(iter(metric.collect())).samples
    found = {
        sample.labels["outcome"]: int(sample.value)
        for sample in samples
        if sample.labels["channel"] == "pawl" and sample.name.endswith("_total")
    }
    return {outcome: count for outcome, count in found.items() if count}


async def settled(running: RunningApp, total: int) -> dict[str, int]:
    """Wait until so many have come to an end and are in the log."""

    async def ended() -> bool:
        return sum((await counted(running)).values()) >= total

    await eventually(ended)
    await until(lambda: not running.services.recorder.depth)
    return await counted(running)


def shadows(running: RunningApp) -> list[dict[str, Any]]:
    """The shadow's rows."""
    columns = ", ".join(f'"{name}"' for name in FIELDS)
    query = f"SELECT {columns} FROM interaction WHERE mode = 'shadow' ORDER BY received_at, id"  # noqa: S608  (names of ours)
    found = rows(database_of(running), query)
    made = [dict(zip(FIELDS, row, strict=True)) for row in found]
    return [{**row, "request": json.loads(row["request"])} for row in made]


def texts(running: RunningApp, identifier: str) -> list[str]:
    query = 'SELECT text FROM choice WHERE interaction_id = ? ORDER BY "index"'
    return [row[0] for row in rows(database_of(running), query, identifier)]


class HungShadow:
    """Shadow answers wait for `resume`; `begun` says how many have begun."""

    def __init__(self) -> None:
        self.resume = asyncio.Event()
        self.begun = 0


def hang_shadow(running: RunningApp, version: str, patch: pytest.MonkeyPatch) -> HungShadow:
    state, answer = HungShadow(), running.engine.answer

    async def hanging(call: EngineCall) -> EngineResponse:
        if call.version == version:
            state.begun += 1
            await state.resume.wait()
        return await answer(call)

    patch.setattr(running.engine, "answer", hanging)
    return state
