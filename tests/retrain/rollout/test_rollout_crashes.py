"""A rollout whose server dies, or whose database is away, at each step."""

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from retrain.rollout.decisions import Phase
from retrain.rollout.service import RolloutService
from tests.retrain.rollout_stage import NEW, OLD, TRIAL, Stage

pytestmark = pytest.mark.anyio


class Crash(BaseException):
    """The process dies."""


def dies(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    async def crashed(*args: object, **more: object) -> None:
        raise Crash

    monkeypatch.setattr(RolloutService, name, crashed)


async def crash(stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Die in the next tick where `name` is called; then start again."""
    with monkeypatch.context() as patch:
        dies(patch, name)
        with pytest.raises(Crash):
            await stage.tick(hours=1)
    await stage.restarted()


async def test_a_crash_before_the_first_step_is_made_up_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        dies(patch, "_do")
        with pytest.raises(Crash):
            await stage.begin()
    await stage.restarted()
    assert await stage.phase() == Phase.BEGUN
    assert await stage.tick() == Phase.SHADOW
    assert stage.route.shadow == NEW


async def test_a_canary_that_was_not_noted_is_found_in_the_route(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.begin()
    await stage.traffic.shadow(stage.house.clock.now, NEW, 10)
    await crash(stage, monkeypatch, "_write")
    assert (stage.route.canary, await stage.phase()) == (NEW, Phase.SHADOW)
    assert await stage.tick() == Phase.CANARY
    assert (await stage.row()).trial == TRIAL


async def test_a_wider_share_that_was_not_noted_is_found_in_the_route(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.to_canary()
    now = stage.house.clock.now
    await stage.traffic.users(40, now, "canary", trial=TRIAL, share=0.05)
    await crash(stage, monkeypatch, "_write")
    assert await stage.tick() == Phase.CANARY
    assert (await stage.row()).stages[-1]["share"] == 0.5
    await stage.vote(0.9, 0.3)
    assert await stage.tick(hours=1) == Phase.WATCH


async def test_a_promotion_that_was_not_noted_is_watched(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.to_wide()
    await stage.vote(0.9, 0.3)
    await crash(stage, monkeypatch, "_write")
    assert (stage.route.live, await stage.phase()) == (NEW, Phase.CANARY)
    assert await stage.tick() == Phase.WATCH
    assert await stage.tick(days=7) == Phase.KEPT


async def test_a_rollback_that_was_not_noted_stays(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.to_wide()
    await stage.vote(0.3, 0.9)
    await crash(stage, monkeypatch, "_write")
    assert await stage.tick() == Phase.ENDED
    assert (stage.route.live, stage.route.canary) == (OLD, None)


async def test_a_write_that_fails_is_made_up_for_at_the_next_tick(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.begin()
    await stage.traffic.shadow(stage.house.clock.now, NEW, 10)

    async def away(*args: object, **more: object) -> None:
        raise OperationalError("away", None, Exception())

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(stage.service.rows, "move", away)
        await stage.tick(hours=1)
    assert [entry["event"] for entry in logs] == ["rollout_waits"]
    assert await stage.tick() == Phase.CANARY


async def test_a_tick_without_a_database_is_survived(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.to_canary()

    async def away(*args: object, **more: object) -> None:
        raise OperationalError("away", None, Exception())

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(stage.service.rows, "open", away)
        await stage.service.tick()
    assert [entry["event"] for entry in logs] == ["rollouts_interrupted"]
