"""A rollout's life on a real database: what users show moves it, people may, a crash does not."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from adapters.errors import TransitionError
from adapters.route import RouteView, watch_of
from retrain import rollout_service
from retrain.canary_config import CanaryConfig
from retrain.errors import NotAwaitedError, RolloutUnderWayError, UnknownRolloutError
from retrain.models import Rollout
from retrain.rollout import Phase
from retrain.rollout_service import RolloutService
from server.db import Database
from tests.retrain.log import CHANNEL
from tests.retrain.runs import ran
from tests.retrain.trial import Traffic
from tests.retrain.world import SATURDAY, House, make_config, version_row, week

pytestmark = pytest.mark.anyio

OLD, NEW = "2026-w46-00000a", "2026-w47-00000b"
TRIAL = f"trial-{NEW}"
CANARY = CanaryConfig(shadow_answers=10, first_requests=40)
RUDE = "tests.retrain.test_rollout_service:rude"


def rude(conversation: object, answer: str) -> float:
    """A harm metric."""
    if answer == "broken":
        raise ValueError
    return float(answer == "rude")


class Stage:
    """A house with a live version and one that is rolled out, and the traffic of both."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.traffic = Traffic(house.database)
        self.registry = house.registry
        self.service = house.world().rollouts
        for name, state in ((OLD, "live"), (NEW, "candidate")):
            self.registry.rows[name] = version_row(name)
            self.registry.rows[name].state = state
        self.registry.route = replace(self.registry.route, live=OLD)

    @property
    def route(self) -> RouteView:
        return self.registry.route

    async def begin(self) -> None:
        await self.service.begin(NEW, CHANNEL, None, "The gate let it through.")

    async def row(self, version: str = NEW) -> Rollout:
        return await self.service.rows.get(version)

    async def phase(self) -> str:
        return (await self.row()).phase

    async def moves(self) -> list[str]:
        return [event.move for event in await self.service.rows.events(NEW)]

    async def tick(self, **later: float) -> str:
        self.house.clock.forward(**later)
        await self.service.tick()
        return await self.phase()

    async def to_canary(self) -> None:
        await self.begin()
        await self.traffic.shadow(self.house.clock.now, NEW, 10)
        assert await self.tick(hours=1) == Phase.CANARY

    async def to_wide(self) -> None:
        await self.to_canary()
        await self.traffic.users(40, self.house.clock.now, "canary", trial=TRIAL, share=0.05)
        assert await self.tick(hours=1) == Phase.CANARY
        assert self.route.canary_share == 0.5

    async def vote(self, newer: float, older: float, count: int = 300) -> None:
        now = self.house.clock.now
        await self.traffic.both(now, trial=TRIAL, share=0.5, newer=newer, older=older, count=count)

    async def to_watch(self) -> None:
        await self.to_wide()
        await self.vote(0.9, 0.3)
        assert await self.tick(hours=1) == Phase.WATCH

    async def restarted(self) -> None:
        """Another process on the same database and route."""
        self.service = self.house.world().rollouts


@pytest.fixture
async def stage(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    """However slow the machine is, no tick is left out to spare it."""
    monkeypatch.setattr(rollout_service, "_LONG", float("inf"))
    house = House(database, tmp_path / "runs", make_config(rollout="canary", canary=CANARY))
    await house.open()
    yield Stage(house)
    await house.close()


def configured(stage: Stage, **settings: Any) -> None:
    """Other settings, as after a restart."""
    stage.house.config = make_config(**{"rollout": "canary", "canary": CANARY, **settings})
    stage.service = stage.house.world().rollouts


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


async def test_a_person_has_the_last_word_on_a_canary(stage: Stage) -> None:
    configured(stage, approval="manual")
    await stage.to_wide()
    await stage.vote(0.9, 0.3)
    assert await stage.tick(hours=1) == Phase.PROMOTION
    assert await stage.tick(days=1) == Phase.PROMOTION
    assert stage.route.live == OLD
    approved = await stage.service.approve(NEW, actor="ann", reason="looks good")
    assert (approved.phase, stage.route.live) == (Phase.WATCH, NEW)
    last = (await stage.service.rows.events(NEW))[-1]
    assert (last.actor, last.reason) == ("ann", "looks good")
    assert last.numbers["streams"]


async def test_what_waits_for_a_person_is_still_guarded(stage: Stage) -> None:
    configured(stage, approval="manual")
    await stage.to_wide()
    await stage.vote(0.9, 0.3)
    assert await stage.tick(hours=1) == Phase.PROMOTION
    now = stage.house.clock.now
    await stage.traffic.users(60, now, "canary", trial=TRIAL, share=0.5, status="failed")
    assert await stage.tick(hours=1) == Phase.ROLLED_BACK


async def test_in_direct_mode_a_person_is_asked_first(stage: Stage) -> None:
    configured(stage, rollout="direct", approval="manual")
    await stage.begin()
    assert await stage.tick(days=30) == Phase.APPROVAL
    assert stage.registry.calls == []
    await stage.service.approve(NEW, actor="ann", reason="")
    assert (stage.route.live, await stage.tick(days=6)) == (NEW, Phase.WATCH)
    assert await stage.tick(days=1) == Phase.KEPT


async def test_nobody_is_asked_twice(stage: Stage) -> None:
    await stage.to_canary()
    with pytest.raises(NotAwaitedError, match="canary"):
        await stage.service.approve(NEW, actor="ann", reason="")
    with pytest.raises(UnknownRolloutError):
        await stage.service.approve("nope", actor="ann", reason="")


async def refused(stage: Stage) -> tuple[str, str, str | None, str | None, str]:
    row = await stage.service.refuse(NEW, actor="ann", reason="no")
    return row.phase, stage.route.live, stage.route.canary, stage.route.shadow, row.reason


GONE = (Phase.REFUSED, OLD, None, None, "no")


async def test_an_approval_is_refused(stage: Stage) -> None:
    configured(stage, rollout="direct", approval="manual")
    await stage.begin()
    assert await refused(stage) == GONE
    assert stage.registry.rows[NEW].state == "rejected"


async def test_a_shadow_is_refused(stage: Stage) -> None:
    await stage.begin()
    assert await refused(stage) == GONE
    assert stage.registry.rows[NEW].state == "rejected"


async def test_a_canary_is_refused(stage: Stage) -> None:
    await stage.to_canary()
    assert await refused(stage) == GONE
    assert stage.registry.rows[NEW].state == "rolled_back"


async def test_a_promotion_is_refused(stage: Stage) -> None:
    configured(stage, approval="manual")
    await stage.to_wide()
    await stage.vote(0.9, 0.3)
    await stage.tick(hours=1)
    assert await refused(stage) == GONE


async def test_a_watched_version_is_refused(stage: Stage) -> None:
    await stage.to_watch()
    assert await refused(stage) == GONE
    assert stage.registry.rows[NEW].state == "rolled_back"
    with pytest.raises(NotAwaitedError):
        await stage.service.refuse(NEW, actor="ann", reason="again")


async def test_a_refusal_waits_for_no_evidence(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody refuses while a tick reads the log: it is done at once, and the tick yields."""
    await stage.to_wide()
    await stage.vote(0.9, 0.3)
    read = RolloutService._verdict

    async def slow(self: RolloutService, *args: Any, **more: Any) -> Any:
        found = await read(self, *args, **more)
        await self.refuse(NEW, actor="ann", reason="no")
        return found

    monkeypatch.setattr(RolloutService, "_verdict", slow)
    assert await stage.tick(hours=1) == Phase.REFUSED
    assert stage.registry.called("promote") == []


async def test_another_live_version_ends_the_trial(stage: Stage) -> None:
    await stage.to_wide()
    stage.registry.rows["other"] = version_row("other")
    await stage.registry.promote("other", actor="ann", reason="by hand")
    assert await stage.tick(hours=1) == Phase.ENDED
    row = await stage.row()
    assert (row.ended_at is not None, "by hand" in row.reason) == (True, True)
    assert (stage.route.live, stage.registry.rows[NEW].state) == ("other", "rolled_back")


async def test_a_rollback_by_hand_ends_the_watch(stage: Stage) -> None:
    await stage.to_watch()
    await stage.registry.rollback(CHANNEL, actor="ann", reason="by hand")
    assert await stage.tick(hours=1) == Phase.ENDED
    assert stage.route.live == OLD


async def test_a_canary_promoted_by_hand_is_kept(stage: Stage) -> None:
    await stage.to_wide()
    await stage.registry.promote(NEW, actor="ann", reason="by hand")
    assert await stage.tick(hours=1) == Phase.KEPT
    assert (await stage.moves())[-2:] == ["follow", "keep"]


async def test_a_candidate_rejected_by_hand_waits_for_nobody(stage: Stage) -> None:
    configured(stage, rollout="direct", approval="manual")
    await stage.begin()
    await stage.registry.reject(NEW, actor="ann", reason="by hand")
    assert await stage.tick() == Phase.ENDED


async def test_a_share_changed_by_hand_is_a_stage(stage: Stage) -> None:
    await stage.to_canary()
    await stage.registry.set_canary(NEW, 0.3, actor="ann", reason="by hand")
    await stage.tick(hours=1)
    now = stage.house.clock.now
    await stage.traffic.both(now, trial=TRIAL, share=0.3, newer=0.95, older=0.2, count=500)
    assert await stage.tick(hours=1) == Phase.WATCH


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


async def test_a_tick_that_finds_nothing_new_writes_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.to_wide()
    await stage.tick()
    written: list[object] = []

    async def write(*args: object, **more: object) -> None:
        written.append(more)

    monkeypatch.setattr(stage.service.rows, "move", write)
    monkeypatch.setattr(stage.service.rows, "note", write)
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
