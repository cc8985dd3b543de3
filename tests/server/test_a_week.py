"""The whole app on each database: asked, rated, exported, trained, promoted, taken back."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.engine.fake.answer import sentinel
from tests.adapters.adapter_files import make_adapter
from tests.server.running_app import RunningApp, chat_body, running_app

pytestmark = pytest.mark.anyio
TRAINER = Path(__file__).with_name("copying_trainer.py")
USERS = 40


def likes_adapters(conversation: object, a: str, b: str) -> float:
    """A judge to whom whatever the base model says is worse."""
    base = sentinel("base")
    return 0.5 + (b.startswith(base) - a.startswith(base)) / 2


def retrain(adapter: Path) -> dict[str, Any]:
    return {
        "enabled": False,
        "minimum_pairs": 5,
        "judge": f"{__name__}:likes_adapters",
        "pairs": {"held_out_share": 0.5},
        "gate": {"comparisons": 12, "minimum": 10},
        "trainer": {"command": (sys.executable, str(TRAINER), str(adapter))},
    }


@pytest.fixture
async def running(
    anyio_backend: object, tmp_path: Path, database_url: str
) -> AsyncIterator[RunningApp]:
    adapter = make_adapter(tmp_path / "trained", seed=7)
    sections = {"database_url": database_url, "retrain": retrain(adapter)}
    async with running_app(tmp_path / "data", **sections) as app:
        yield app


async def rated(running: RunningApp, number: int) -> None:
    """A user asks, and prefers the second of two answers."""
    messages = [{"role": "user", "content": f"When is number {number} ripe? \x7f\u2028 ä"}]
    body = chat_body(user=f"user {number}", n=2, messages=messages)
    answer = (await running.anyone.post("/v1/chat/completions", json=body)).json()
    word = {
        "id": f"word {number}",
        "inference_id": answer["id"],
        "choice": 1,
        "metric_name": "preference",
        "value": {"over": answer["id"], "choice": 0},
        "tags": {"place": "shop"},
    }
    for _ in range(2):
        told = await running.anyone.post("/v1/feedback", json=word)
        assert told.json() == {"feedback_id": f"word {number}"}


async def live(running: RunningApp) -> str:
    version: str = (await running.operator.get("/v1/route")).json()["live"]
    return version


async def test_a_week_of_an_app(running: RunningApp) -> None:
    await asyncio.gather(*(rated(running, number) for number in range(USERS)))
    exported = (await running.operator.get("/v1/pairs/export")).text.strip().split("\n")
    run = (await running.operator.post("/v1/runs", json={})).json()
    ended = await running.services.runs.wait(run["id"])
    assert (ended.state, ended.reason) == ("promoted", ended.reason)
    assert ended.figures["pairs"] == len(exported)
    assert await live(running) == ended.version
    answer = await running.anyone.post("/v1/chat/completions", json=chat_body())
    assert answer.json()["model"] == f"pawl@{ended.version}"
    await running.operator.post("/v1/rollback", json={"reason": "a test"})
    assert await live(running) == "base"
    shown = (await running.anyone.get(f"/v1/interactions/{answer.json()['id']}")).json()
    assert (shown["version"], shown["status"]) == (ended.version, "complete")
