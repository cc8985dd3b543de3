"""A `House` with a version that is being rolled out, for the rollout tests."""

from dataclasses import replace
from typing import Any

from adapters.routing.route import RouteView
from retrain.config import CanaryConfig
from retrain.models import Rollout
from retrain.rollout.decisions import Phase
from tests.retrain.log import CHANNEL
from tests.retrain.trial import Traffic
from tests.retrain.world import House, make_config, version_row

OLD, NEW = "2026-w46-00000a", "2026-w47-00000b"
TRIAL = f"trial-{NEW}"
CANARY = CanaryConfig(shadow_answers=10, first_requests=40)


class Stage:
    """A `House` with a live version, a version that is rolled out, and the traffic of both."""

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


def configured(stage: Stage, **settings: Any) -> None:
    """Other settings, as after a restart."""
    stage.house.config = make_config(**{"rollout": "canary", "canary": CANARY, **settings})
    stage.service = stage.house.world().rollouts
