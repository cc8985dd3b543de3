"""A rollout's life on a real database: what users show moves it, people may, a crash does not."""

from dataclasses import replace

import pytest

from adapters.errors import TransitionError
from adapters.routing.route import RouteView, watch_of
from feedback.config import MetricConfig
from retrain.config import CanaryConfig
from retrain.errors import NotAwaitedError, RolloutUnderWayError
from retrain.rollout.decisions import Phase
from tests.retrain.log import CHANNEL
from tests.retrain.rollout_stage import CANARY, NEW, OLD, TRIAL, Stage, configured
from tests.retrain.runs import ran
from tests.retrain.world import SATURDAY, version_row, week

pytestmark = pytest.mark.anyio


async def test_a_version_that_users_like_answers_everybody_in_the_end(stage: Stage) -> None:
    await stage.begin()
    assert (stage.route.shadow, stage.route.shadow_share) == (NEW, 0.1)
    assert await stage.tick(hours=1) == Phase.SHADOW
    await stage.traffic.shadow(stage.house.clock.now, NEW, 10)
    assert await stage.tick(hours=1) == Phase.CANARY
    assert (stage.route.canary, stage.route.canary_share, stage.route.shadow) == (NEW, 0.05, None)
    now = stage.house.clock.now
    await stage.traffic.users(40, now, "canary", trial=TRIAL, share=0.05)
    assert await stage.tick(hours=1) == Phase.CANARY
    assert stage.route.canary_share == 0.5
    await stage.vote(0.9, 0.3)
    assert await stage.tick(hours=1) == Phase.WATCH
    assert (stage.route.live, stage.route.holdback_share) == (NEW, 0.05)
    assert await stage.tick(days=6.9) == Phase.WATCH
    assert await stage.tick(days=0.1) == Phase.KEPT
    assert (stage.route.live, stage.route.trial) == (NEW, "")
    expected = ["begin", "shadow", "canary", "widen", "promote", "keep"]
    assert await stage.moves() == expected
    assert (await stage.row()).ended_at == stage.house.clock.now


async def test_every_decision_is_an_event_with_its_numbers(stage: Stage) -> None:
    await stage.to_watch()
    events = {event.move: event for event in await stage.service.rows.events(NEW)}
    assert events["canary"].numbers == {"answered": 10, "failed": 0}
    assert events["widen"].numbers["served"] == 40
    promoted = events["promote"]
    assert (promoted.phase, promoted.actor) == ("watch", "rollout")
    assert promoted.numbers["outcome"] == "promote"
    assert max(one["better"] for one in promoted.numbers["streams"].values()) >= 100
    assert promoted.numbers["canary_users"] + promoted.numbers["live_users"] == 300
    assert (await stage.row()).verdict == {
        name: value for name, value in promoted.numbers.items() if name != "served"
    }
    phases = ["begun", "shadow", "canary", "canary", "watch"]
    assert stage.house.watcher.phases == phases


async def test_a_version_that_users_dislike_is_rolled_back_at_once(stage: Stage) -> None:
    await stage.to_wide()
    await stage.vote(0.3, 0.9)
    assert await stage.tick(hours=1) == Phase.ROLLED_BACK
    assert (stage.route.live, stage.route.canary, stage.route.trial) == (OLD, None, "")
    assert stage.registry.rows[NEW].state == "rolled_back"
    assert "worse" in (await stage.row()).reason


async def test_a_metric_of_ones_own_decides_as_it_was_defined_at_the_start(stage: Stage) -> None:
    stage.house.metrics = {"reopened": MetricConfig(type="boolean", direction="lower")}
    configured(stage, canary=CANARY.model_copy(update={"votes": frozenset({"reopened"})}))
    stage.traffic.metric = "reopened"
    await stage.to_wide()
    stage.house.metrics = {"reopened": MetricConfig(type="boolean")}
    await stage.restarted()
    await stage.vote(0.1, 0.7)
    assert await stage.tick(hours=1) == Phase.WATCH


async def test_what_was_rolled_back_is_never_live_again(stage: Stage) -> None:
    await stage.to_wide()
    await stage.vote(0.3, 0.9)
    await stage.tick(hours=1)
    await stage.vote(1.0, 0.0, count=600)
    assert await stage.tick(hours=5) == Phase.ROLLED_BACK
    with pytest.raises(NotAwaitedError):
        await stage.service.approve(NEW, actor="ann", reason="")
    await stage.begin()  # a run's last step, repeated
    with pytest.raises(TransitionError):
        await stage.registry.promote(NEW, actor="ann", reason="")
    assert (stage.route.live, await stage.phase()) == (OLD, Phase.ROLLED_BACK)


async def test_failures_end_a_canary_whatever_users_say(stage: Stage) -> None:
    await stage.to_wide()
    now = stage.house.clock.now
    await stage.traffic.users(60, now, "canary", trial=TRIAL, share=0.5, status="failed")
    assert await stage.tick(hours=1) == Phase.ROLLED_BACK
    assert "failed answer" in (await stage.row()).reason


async def test_a_canary_that_shows_nothing_is_rolled_back_when_its_time_is_up(stage: Stage) -> None:
    await stage.to_wide()
    assert await stage.tick(days=13.9) == Phase.CANARY
    assert await stage.tick(days=0.1) == Phase.ROLLED_BACK
    assert "14 days" in (await stage.row()).reason


async def test_nothing_is_decided_under_two_hundred_rated_users(stage: Stage) -> None:
    await stage.to_wide()
    await stage.vote(1.0, 0.0, count=199)
    assert await stage.tick(hours=1) == Phase.CANARY
    await stage.vote(1.0, 0.0, count=1)
    assert await stage.tick(hours=1) == Phase.WATCH


async def test_a_watched_version_is_rolled_back_by_those_who_were_held_back(stage: Stage) -> None:
    await stage.to_watch()
    now, trial = stage.house.clock.now, watch_of(TRIAL)
    await stage.traffic.users(1_500, now, "live", trial=trial, share=0.95, likes=0.2)
    await stage.traffic.users(80, now, "holdback", trial=trial, share=0.95, likes=0.95)
    assert await stage.tick(hours=2) == Phase.ROLLED_BACK
    assert (stage.route.live, stage.route.holdback_share) == (OLD, 0.0)


async def test_a_shadow_that_fails_never_meets_users(stage: Stage) -> None:
    await stage.begin()
    await stage.traffic.shadow(stage.house.clock.now, NEW, 9, failed=1)
    assert await stage.tick(hours=1) == Phase.ROLLED_BACK
    assert (stage.route.shadow, stage.registry.rows[NEW].state) == (None, "rejected")


async def test_without_a_shadow_the_canary_begins_at_once(stage: Stage) -> None:
    configured(stage, canary=CanaryConfig(shadow_answers=0, first_requests=0))
    await stage.begin()
    assert (await stage.phase(), stage.route.canary_share) == (Phase.CANARY, 0.5)


async def test_the_next_canary_ends_a_watch_and_is_left_alone(stage: Stage) -> None:
    await stage.to_watch()
    stage.registry.rows["next"] = version_row("next")
    canary = await stage.registry.set_canary("next", 0.05, actor="rollout", reason="")
    assert await stage.tick(hours=1) == Phase.KEPT
    assert stage.route == canary


async def test_settings_are_those_of_the_beginning(stage: Stage) -> None:
    await stage.to_wide()
    other = CanaryConfig(gate=CANARY.gate.model_copy(update={"rated_users": 5_000}))
    configured(stage, canary=other)
    await stage.vote(0.9, 0.3)
    assert await stage.tick(hours=1) == Phase.WATCH


async def test_one_channel_rolls_out_one_version(stage: Stage) -> None:
    await stage.begin()
    stage.registry.rows["other"] = version_row("other")
    with pytest.raises(RolloutUnderWayError):
        await stage.service.begin("other", CHANNEL, None, "")
    assert await stage.service.under_way(CHANNEL) == NEW


async def test_beginning_twice_changes_nothing(stage: Stage) -> None:
    await stage.begin()
    await stage.begin()
    assert stage.registry.called("shadow") == [NEW]


async def test_a_mere_watch_is_in_nobodys_way(stage: Stage) -> None:
    await stage.to_watch()
    assert await stage.service.under_way(CHANNEL) is None
    stage.registry.rows["other"] = version_row("other")
    await stage.service.begin("other", CHANNEL, None, "")
    assert (await stage.row("other")).phase == Phase.SHADOW


async def test_a_tick_that_finds_nothing_new_writes_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.to_wide()
    await stage.tick()
    written: list[object] = []

    async def write(*args: object, **more: object) -> None:
        written.append(more)

    monkeypatch.setattr(stage.service.rows, "move", write)
    monkeypatch.setattr(stage.service.rows, "save_verdict", write)
    await stage.service.tick()
    assert written == []


async def test_the_evidence_is_shown_while_there_is_some(stage: Stage) -> None:
    await stage.to_wide()
    await stage.vote(0.5, 0.5)
    await stage.tick(hours=1)
    shown = stage.house.watcher.evidence
    assert {"better (first)", "worse (day)", "failed answer", "voting differs"} <= shown.keys()
    await stage.service.refuse(NEW, actor="ann", reason="")
    await stage.service.tick()
    assert stage.house.watcher.evidence == {}


async def test_a_version_that_cannot_begin_does_not_stop_the_run_and_is_given_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(version: str, *args: object, **more: object) -> RouteView:
        raise TransitionError(version, "candidate", "shadow", "wait")

    with monkeypatch.context() as patch:
        patch.setattr(stage.registry, "set_shadow", full)
        await stage.begin()
        assert await stage.tick(hours=23) == Phase.BEGUN
        assert await stage.tick(hours=1) == Phase.ROLLED_BACK
    assert stage.registry.rows[NEW].state == "rejected"


async def test_a_run_ends_with_its_rollout_under_way(stage: Stage) -> None:
    house = stage.house
    house.registry.rows.clear()
    house.registry.route = replace(stage.route, live="base")
    run = await ran(house)
    assert (run.state, run.version) == ("rolling_out", house.registry.route.shadow)
    assert house.registry.called("promote") == []
    house.clock.forward(days=7)
    await week(SATURDAY, "second").write(house.database)
    following = await ran(house)
    assert following.state == "skipped"
    assert str(run.version) in str(following.reason)


async def test_what_a_rolled_back_version_learned_from_is_looked_at_again(stage: Stage) -> None:
    house = stage.house
    house.registry.rows.clear()
    house.registry.route = replace(stage.route, live="base")
    first = await ran(house)
    await house.world().rollouts.refuse(str(first.version), actor="ann", reason="")
    house.clock.forward(days=7)
    await week(SATURDAY, "second").write(house.database)
    second = await ran(house)
    assert second.figures["pairs"] > first.figures["pairs"]
