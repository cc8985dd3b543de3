"""Harm metrics look at what a canary answers."""

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from retrain.rollout import Phase
from tests.retrain.rollout_stage import TRIAL, Stage, configured

pytestmark = pytest.mark.anyio

RUDE = "tests.retrain.test_rollout_harms:rude"


def rude(conversation: object, answer: str) -> float:
    """A harm metric."""
    if answer == "broken":
        raise ValueError
    return float(answer == "rude")


def guarded(stage: Stage) -> None:
    evaluation = stage.house.config.evaluation.model_copy(update={"harms": {"rudeness": RUDE}})
    configured(stage, evaluation=evaluation)


async def answers(stage: Stage, count: int, text: str, role: str) -> None:
    now = stage.house.clock.now
    await stage.traffic.users(count, now, role, trial=TRIAL, share=0.5, text=text)


async def test_rude_answers_end_a_canary(stage: Stage) -> None:
    guarded(stage)
    await stage.to_wide()
    await answers(stage, 30, "rude", "canary")
    assert await stage.tick(hours=1) == Phase.ROLLED_BACK
    assert "rudeness" in (await stage.row()).reason


async def test_an_answer_that_came_in_late_is_measured_too(stage: Stage) -> None:
    guarded(stage)
    await stage.to_wide()
    stage.house.clock.forward(minutes=5)
    await answers(stage, 1, "kind", "canary")
    await stage.tick(minutes=1)
    stage.house.clock.now -= timedelta(minutes=1, seconds=30)  # asked for before what was read
    await answers(stage, 30, "rude", "canary")
    assert await stage.tick(minutes=2) == Phase.ROLLED_BACK


async def test_nothing_is_promoted_while_a_harm_metric_fails(stage: Stage) -> None:
    guarded(stage)
    await stage.to_wide()
    await stage.vote(0.9, 0.3)
    await answers(stage, 1, "broken", "canary")
    with capture_logs() as logs:
        assert await stage.tick(hours=1) == Phase.CANARY
    assert "harm_metric_failed" in [entry["event"] for entry in logs]
    assert stage.registry.called("promote") == []


async def test_an_answer_is_put_before_a_harm_metric_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded(stage)
    await stage.to_wide()
    await answers(stage, 5, "kind", "canary")
    seen: list[str] = []

    async def measured(metric: object, conversation: object, text: str) -> float:
        seen.append(text)
        return 0.0

    monkeypatch.setattr("retrain.trial_log.measure_harm", measured)
    for _ in range(3):
        await stage.tick(minutes=1)
    assert seen.count("kind") == 5
