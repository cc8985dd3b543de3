"""Runs without a canary take the alpha of their sign test from the yearly budget."""

from datetime import timedelta
from typing import Any

import pytest

from retrain.config import EnoughConfig
from retrain.gates.budget import Budget
from retrain.models import Run
from retrain.run.steps import STEPS
from retrain.schemas import RunOut
from tests.retrain.log import CHANNEL
from tests.retrain.world import SATURDAY, House, make_config, week

pytestmark = pytest.mark.anyio

FULL = Budget(0.05).cap
DIRECT: dict[str, Any] = {"when": "enough", "enough": EnoughConfig(hours=168)}


async def ran(house: House) -> RunOut:
    service = house.service()
    run = await service.start_run(CHANNEL)
    return await service.wait(run.id)


async def wallet(house: House) -> float:
    return (await house.world().rollouts.budget_of(CHANNEL)).wallet


async def test_a_weekly_run_keeps_the_alpha_of_the_settings(house: House) -> None:
    run = await ran(house)
    assert (run.verdict or {})["alpha"] == house.config.gate.alpha
    assert "alpha" not in run.figures


async def test_where_runs_start_on_feedback_the_sign_test_gets_a_share_of_the_wallet(
    shared_house: House,
) -> None:
    shared_house.config = make_config(**DIRECT)
    run = await ran(shared_house)
    assert run.state == "promoted"
    assert (run.verdict or {})["alpha"] == run.figures["alpha"] == pytest.approx(FULL / 4)
    assert await wallet(shared_house) == pytest.approx(FULL * 3 / 4)


async def test_the_next_run_gets_a_share_of_what_is_left(house: House) -> None:
    house.config = make_config(**DIRECT)
    first = await ran(house)
    house.clock.forward(days=7)
    await week(SATURDAY + timedelta(days=6), "second").write(house.database)
    second = await ran(house)
    assert second.figures["alpha"] < first.figures["alpha"]


async def test_the_alpha_is_stored_before_the_first_question_and_kept_by_a_resumed_run(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.config = make_config(**DIRECT)
    taken: list[float] = []
    evaluate = STEPS["evaluate"]

    async def twice(context: Any) -> Any:
        for _ in range(2):
            await evaluate(context)
            row: Run = await context.environment.runs.get(context.run.id)
            taken.append(row.figures["alpha"])

    monkeypatch.setitem(STEPS, "evaluate", twice)
    await ran(house)
    assert taken == [pytest.approx(FULL / 4)] * 2


async def test_a_run_that_fails_before_its_verdict_has_spent_nothing(shared_house: House) -> None:
    shared_house.config = make_config(**DIRECT)
    shared_house.chat.error = RuntimeError("no answers")
    assert (await ran(shared_house)).state == "failed"
    assert await wallet(shared_house) == FULL
