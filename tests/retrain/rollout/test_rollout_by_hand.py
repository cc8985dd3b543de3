"""A rollout that people take part in: approvals, refusals, and what they do to the route."""

from typing import Any

import pytest

from retrain.errors import NotAwaitedError, UnknownRolloutError
from retrain.rollout.decisions import Phase
from retrain.rollout.service import RolloutService
from tests.retrain.log import CHANNEL
from tests.retrain.rollout_stage import NEW, OLD, TRIAL, Stage, configured
from tests.retrain.world import version_row

pytestmark = pytest.mark.anyio


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
