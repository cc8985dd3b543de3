"""Harm metrics look at what a canary answers."""

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from retrain.rollout.decisions import Phase
from retrain.rollout.harm_reader import TRIES
from tests.retrain.rollout_stage import TRIAL, Stage, configured

pytestmark = pytest.mark.anyio

RUDE = "tests.retrain.rollout.test_rollout_harms:rude"


def rude(conversation: object, answer: str) -> float:
    """A harm metric."""
    if answer == "broken":
        raise ValueError
    if answer == "nothing":
        return None  # type: ignore[return-value]  # what a user's function may do
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


@pytest.mark.parametrize("text", ["broken", "nothing"])
async def test_answers_after_one_that_cannot_be_measured_are_measured(
    stage: Stage, text: str
) -> None:
    guarded(stage)
    await stage.to_wide()
    await answers(stage, 1, text, "canary")
    stage.house.clock.forward(minutes=1)
    await answers(stage, 30, "rude", "canary")
    assert await stage.tick(hours=1) == Phase.ROLLED_BACK
    assert "rudeness" in (await stage.row()).reason


async def test_votes_roll_back_though_a_harm_metric_returns_no_number(stage: Stage) -> None:
    guarded(stage)
    await stage.to_wide()
    await answers(stage, 1, "nothing", "canary")
    await stage.vote(0.3, 0.9)
    assert await stage.tick(hours=1) == Phase.ROLLED_BACK


async def test_an_answer_that_can_never_be_measured_does_not_end_promotions(stage: Stage) -> None:
    guarded(stage)
    await stage.to_wide()
    await stage.vote(0.9, 0.3)
    await answers(stage, 1, "broken", "canary")
    with capture_logs() as logs:
        for _ in range(TRIES - 1):
            assert await stage.tick(minutes=20) == Phase.CANARY
            await answers(stage, 1, "kind", "live")
        assert await stage.tick(minutes=20) == Phase.WATCH
    given_up = [entry["answers"] for entry in logs if entry["event"] == "harm_unmeasurable"]
    assert given_up == [1]


async def test_what_cannot_be_measured_counts_as_harmful(stage: Stage) -> None:
    guarded(stage)
    await stage.to_wide()
    await answers(stage, 30, "broken", "canary")
    for _ in range(TRIES - 1):
        await answers(stage, 1, "kind", "live")
        assert await stage.tick(minutes=20) == Phase.CANARY
    await answers(stage, 1, "kind", "live")
    assert await stage.tick(minutes=20) == Phase.ROLLED_BACK
    assert "rudeness" in (await stage.row()).reason


async def test_no_answer_is_given_up_while_the_metric_measures_nothing(stage: Stage) -> None:
    guarded(stage)
    await stage.to_wide()
    await stage.vote(0.9, 0.3)
    await answers(stage, 1, "broken", "canary")
    for _ in range(TRIES + 2):
        assert await stage.tick(minutes=20) == Phase.CANARY


async def test_reading_what_was_measured_takes_no_time_from_new_answers(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the window takes to read again, a tick measures at least what time it has."""
    guarded(stage)
    await stage.to_wide()
    await answers(stage, 20, "kind", "canary")
    await stage.tick(minutes=1)
    await answers(stage, 30, "rude", "canary")
    measured: list[str] = []

    async def measure(metric: object, conversation: object, text: str) -> float:
        measured.append(text)
        return 0.0

    monkeypatch.setattr("retrain.rollout.harm_reader.measure_harm", measure)
    looks = iter([False] * 30)
    monkeypatch.setattr("retrain.rollout.harm_reader._Tick.expired", lambda _: next(looks))
    await stage.tick(minutes=1)
    assert measured == ["rude"] * 30


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

    monkeypatch.setattr("retrain.rollout.harm_reader.measure_harm", measured)
    for _ in range(3):
        await stage.tick(minutes=1)
    assert seen.count("kind") == 5
