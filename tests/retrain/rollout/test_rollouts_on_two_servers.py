"""Two servers that come to one decision at once: one change of the route, one event."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from adapters.errors import StaleRouteError
from retrain.rollout.decisions import Phase
from retrain.rollout.service import RolloutService
from tests.retrain.rollout_stage import NEW, OLD, Stage, configured

pytestmark = pytest.mark.anyio


async def both(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[RolloutService], Awaitable[object]],
) -> list[BaseException]:
    """Have two servers decide before either acts; what went wrong."""
    decided, do = asyncio.Barrier(2), RolloutService._do

    async def together(service: RolloutService, *arguments: Any) -> None:
        await decided.wait()
        await do(service, *arguments)

    services = [stage.house.world().rollouts for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(RolloutService, "_do", together)
        stage.house.clock.forward(hours=1)
        async with asyncio.timeout(30):
            done = await asyncio.gather(*map(work, services), return_exceptions=True)
    return [one for one in done if isinstance(one, BaseException)]


async def test_a_version_is_promoted_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await stage.to_wide()
    await stage.vote(0.9, 0.3)
    assert await both(stage, monkeypatch, RolloutService.tick) == []
    assert stage.registry.called("promote") == [NEW]
    assert (await stage.moves()).count("promote") == 1
    assert await stage.phase() == Phase.WATCH


async def test_a_version_is_rolled_back_once_and_not_what_was_before_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.to_watch()
    errors = await both(
        stage, monkeypatch, lambda service: service.refuse(NEW, actor="ann", reason="no")
    )
    assert [type(error) for error in errors] == [StaleRouteError]
    assert len(stage.registry.called("rollback")) == 1
    assert (stage.route.live, await stage.phase()) == (OLD, Phase.REFUSED)


async def test_a_person_is_asked_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(stage, approval="manual")
    await stage.to_wide()
    await stage.vote(0.9, 0.3)
    assert await both(stage, monkeypatch, RolloutService.tick) == []
    assert (await stage.moves()).count("ask") == 1
    assert await stage.phase() == Phase.PROMOTION
