"""What canaries take from the yearly budget of false promotions, and where it is written down."""

import asyncio
from typing import Any

import pytest

from retrain.config import BudgetConfig, CanaryConfig, OnlineGateConfig
from retrain.errors import RolloutUnderWayError
from retrain.gates.budget import Budget
from retrain.rollout.decisions import Phase
from retrain.schemas import RolloutOut
from tests.retrain.log import CHANNEL
from tests.retrain.rollout_stage import CANARY, NEW, Stage, configured
from tests.retrain.world import version_row

pytestmark = pytest.mark.anyio

FULL = Budget(0.05).cap
FIRST_ALPHA = FULL / 4


def within_the_budget(stage: Stage, **settings: Any) -> None:
    configured(stage, budget=BudgetConfig(weekly=True), **settings)


async def begin(stage: Stage, version: str, **how: Any) -> None:
    stage.registry.rows[version] = version_row(version)
    await stage.service.begin(version, CHANNEL, None, "The gate let it through.", **how)


async def wallet(stage: Stage) -> float:
    return (await stage.service.budget_of(CHANNEL)).wallet


async def test_a_canary_takes_a_share_of_the_wallet_into_its_frozen_settings(stage: Stage) -> None:
    within_the_budget(stage)
    await stage.begin()
    row = await stage.row()
    assert row.alpha == pytest.approx(FIRST_ALPHA)
    assert row.settings["gate"]["alpha_promote"] == row.alpha
    assert RolloutOut.of(row).threshold == pytest.approx(400)
    (event, *_) = await stage.service.rows.events(NEW)
    assert event.numbers == {"alpha": row.alpha, "wallet": pytest.approx(FULL)}


async def test_it_is_promoted_at_the_threshold_that_belongs_to_its_alpha(stage: Stage) -> None:
    within_the_budget(stage, canary=CANARY)
    await stage.to_wide()
    await stage.vote(0.65, 0.5, count=600)
    await stage.tick(hours=1)
    shown = (await stage.row()).verdict or {}
    assert 100 < max(one["better"] for one in shown["streams"].values()) < 400
    assert await stage.phase() == Phase.CANARY


async def test_weekly_canaries_behind_a_judge_keep_their_settings(stage: Stage) -> None:
    await stage.begin()
    row = await stage.row()
    assert (row.alpha, RolloutOut.of(row).threshold) == (None, 100)
    assert await wallet(stage) == FULL


async def test_without_a_judge_users_alone_decide_so_the_budget_applies(stage: Stage) -> None:
    await begin(stage, "unjudged", judged=False)
    assert (await stage.row("unjudged")).alpha == pytest.approx(FIRST_ALPHA)


async def test_the_next_canary_gets_a_share_of_what_is_left(stage: Stage) -> None:
    within_the_budget(stage)
    await stage.to_canary()
    assert await wallet(stage) == pytest.approx(FULL - FIRST_ALPHA)
    await stage.service.refuse(NEW, actor="ann", reason="")
    await begin(stage, "next")
    assert (await stage.row("next")).alpha == pytest.approx((FULL - FIRST_ALPHA) / 4)


async def test_a_version_that_no_user_met_has_spent_nothing(stage: Stage) -> None:
    within_the_budget(stage)
    await stage.begin()
    assert await wallet(stage) == pytest.approx(FULL - FIRST_ALPHA)
    await stage.traffic.shadow(stage.house.clock.now, NEW, 5, failed=5)
    assert await stage.tick(hours=1) == Phase.ROLLED_BACK
    assert await wallet(stage) == FULL


async def test_what_a_person_promotes_takes_nothing(stage: Stage) -> None:
    within_the_budget(stage, approval="manual")
    await stage.to_wide()
    await stage.vote(0.9, 0.3)
    assert await stage.tick(hours=1) == Phase.PROMOTION
    await stage.service.approve(NEW, actor="ann", reason="")
    assert ((await stage.row()).alpha, await wallet(stage)) == (None, FULL)


async def test_a_canary_that_began_outside_the_budget_waits_for_a_person(stage: Stage) -> None:
    await stage.to_wide()
    within_the_budget(stage)
    await stage.vote(0.9, 0.3)
    assert await stage.tick(hours=1) == Phase.PROMOTION


async def test_with_a_margin_both_ways_to_be_promoted_share_the_alpha(stage: Stage) -> None:
    within_the_budget(stage, canary=CanaryConfig(gate=OnlineGateConfig(margin=0.03)))
    await stage.begin()
    row = await stage.row()
    gate = row.settings["gate"]
    assert gate["alpha_promote"] + gate["alpha_margin"] == row.alpha == pytest.approx(FIRST_ALPHA)


async def test_a_restart_forgets_nothing(stage: Stage) -> None:
    within_the_budget(stage)
    await stage.to_canary()
    before = await wallet(stage)
    await stage.restarted()
    assert await wallet(stage) == before


async def test_two_servers_cannot_grant_one_alpha_twice(stage: Stage) -> None:
    within_the_budget(stage)
    for name in ("one", "two"):
        stage.registry.rows[name] = version_row(name)
    services = [stage.house.world().rollouts for _ in range(2)]
    done = await asyncio.gather(
        *(
            service.begin(name, CHANNEL, None, "")
            for service, name in zip(services, ("one", "two"), strict=True)
        ),
        return_exceptions=True,
    )
    assert [type(one) for one in done if one is not None] == [RolloutUnderWayError]
    assert await wallet(stage) == pytest.approx(FULL - FIRST_ALPHA)


async def test_the_wallet_is_exported(stage: Stage) -> None:
    within_the_budget(stage)
    await stage.to_canary()
    await stage.service.tick()
    assert stage.house.watcher.left == {CHANNEL: pytest.approx(FULL - FIRST_ALPHA)}


async def test_the_wallet_fills_while_nothing_is_spent(stage: Stage) -> None:
    within_the_budget(stage)
    await stage.to_canary()
    await stage.service.refuse(NEW, actor="ann", reason="")
    stage.house.clock.forward(days=210)
    assert (await stage.service.budget_of(CHANNEL)).wallet == FULL
