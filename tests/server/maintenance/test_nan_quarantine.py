"""A version whose answers have no finite logits is taken out, and the engine is ended."""

from pathlib import Path

import pytest

from server.maintenance.nan_quarantine import ACTOR
from tests.adapters.adapter_files import make_adapter
from tests.server.metrics.test_metrics import shown, value
from tests.server.running_app import RunningApp, chat_body, running_app

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"


async def added(running: RunningApp, folder: Path, seed: int = 0) -> str:
    body = {"path": str(make_adapter(folder, seed))}
    version: str = (await running.operator.post("/v1/adapters", json=body)).json()["name"]
    return version


async def promoted(running: RunningApp, version: str) -> None:
    done = await running.operator.post(f"/v1/adapters/{version}/promote", json={"reason": "test"})
    assert done.status_code == 200


async def state_of(running: RunningApp, version: str) -> tuple[str, str]:
    """The version's state, and who brought it there."""
    event = (await running.services.registry.events(version))[-1]
    return event.to_state, event.actor


@pytest.mark.parametrize("stream", [False, True])
async def test_a_candidate_is_rejected_and_never_loaded_again(tmp_path: Path, stream: bool) -> None:
    async with running_app(tmp_path / "data") as running:
        version = await added(running, tmp_path / "a")
        running.engine.faults.not_finite = frozenset({version})
        request = chat_body(model=f"pawl@{version}", stream=stream)
        answer = await running.operator.post(CHAT, json=request)
        assert answer.status_code == 503
        await running.engine.wait_dead()
        assert await state_of(running, version) == ("rejected", ACTOR)
    async with running_app(tmp_path / "data") as again:
        assert again.engine.resident() == frozenset()
        assert (await again.operator.post(CHAT, json=chat_body())).status_code == 200
        figures = await shown(again)
        assert value(figures, "pawl_adapter_quarantines_total") == 1


async def test_for_live_standby_answers_after_the_restart(tmp_path: Path) -> None:
    async with running_app(tmp_path / "data") as running:
        first = await added(running, tmp_path / "a", 1)
        second = await added(running, tmp_path / "b", 2)
        await promoted(running, first)
        await promoted(running, second)
        running.engine.faults.not_finite = frozenset({second})
        assert (await running.operator.post(CHAT, json=chat_body())).status_code == 503
        await running.engine.wait_dead()
        assert await state_of(running, second) == ("rolled_back", ACTOR)
    async with running_app(tmp_path / "data") as again:
        answer = await again.operator.post(CHAT, json=chat_body())
        assert answer.json()["model"] == f"pawl@{first}"


async def test_the_base_models_nan_ends_the_engine_and_takes_nothing_out(tmp_path: Path) -> None:
    async with running_app(tmp_path / "data") as running:
        live = await added(running, tmp_path / "a")
        await promoted(running, live)
        assert (await running.operator.post(CHAT, json=chat_body())).status_code == 200
        running.engine.faults.not_finite = frozenset({"base"})
        body = chat_body(model="pawl@base")
        assert (await running.operator.post(CHAT, json=body)).status_code == 503
        await running.engine.wait_dead()
        assert (await state_of(running, live))[0] == "live"


async def test_such_an_answer_is_stored_as_failed_and_its_rating_trains_nothing(
    tmp_path: Path,
) -> None:
    async with running_app(tmp_path / "data") as running:
        version = await added(running, tmp_path / "a")
        running.engine.faults.not_finite = frozenset({version})
        request = chat_body(model=f"pawl@{version}")
        answer = await running.operator.post(CHAT, json=request)
        identifier = answer.headers["x-pawl-interaction"]
        row = (await running.operator.get(f"/v1/interactions/{identifier}")).json()
        assert (row["status"], row["error"]) == ("failed", "NotFiniteError")
