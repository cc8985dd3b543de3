"""What a rollout's steps do to the route. Each may be done again after a crash."""

from typing import TypedDict

from adapters.routing.lifecycle import State
from adapters.routing.route import RouteView, watch_of
from retrain.config import CanaryConfig
from retrain.models import Rollout
from retrain.ports import AdapterRegistry
from retrain.rollout.decisions import Move, Phase


class Who(TypedDict):
    """Who changes the route, and why."""

    actor: str
    reason: str


class RolloutMoves:
    """The moves of one version on its channel; each returns the phase that it leads to.

    They were decided on `route`: where it is another one by now, `StaleRouteError`. So of several
    servers that decide at once, one moves.
    """

    def __init__(
        self,
        registry: AdapterRegistry,
        rollout: Rollout,
        config: CanaryConfig,
        route: RouteView,
    ) -> None:
        self._registry = registry
        self._route = route
        self._epoch = route.epoch
        self._version = rollout.version
        self._channel = rollout.channel
        self._trial = rollout.trial
        self._config = config

    async def make(self, move: Move, who: Who) -> Phase:
        """Change the route as the move says; raises what the registry raises."""
        moves = {
            "shadow": self._shadow,
            "canary": self._canary,
            "widen": self._widen,
            "ask": self._ask,
            "promote": self._promote,
            "keep": self._keep,
            "roll_back": self._roll_back,
            "refuse": self._refuse,
        }
        return await moves[move](who)

    async def _shadow(self, who: Who) -> Phase:
        await self._registry.set_shadow(
            self._version, self._config.shadow_share, epoch=self._epoch, **who
        )
        return Phase.SHADOW

    async def _canary(self, who: Who) -> Phase:
        config = self._config
        share = config.first_share if config.first_requests else config.share
        await self._registry.set_canary(self._version, share, epoch=self._epoch, **who)
        return Phase.CANARY

    async def _widen(self, who: Who) -> Phase:
        await self._registry.set_canary(self._version, self._config.share, epoch=self._epoch, **who)
        return Phase.CANARY

    async def _ask(self, who: Who) -> Phase:
        del who  # nothing changes until somebody says so
        return Phase.PROMOTION

    async def _promote(self, who: Who) -> Phase:
        held = self._config.holdback_share if self._config.watch_days else 0.0
        await self._registry.promote(self._version, holdback_share=held, epoch=self._epoch, **who)
        return Phase.WATCH if held else Phase.KEPT

    async def _keep(self, who: Who) -> Phase:
        """End the watch; what another rollout has begun meanwhile is not this one's to end."""
        if self._route.trial == watch_of(self._trial):
            await self._registry.end_trial(self._channel, epoch=self._epoch, **who)
        return Phase.KEPT

    async def _refuse(self, who: Who) -> Phase:
        await self._roll_back(who)
        return Phase.REFUSED

    async def _roll_back(self, who: Who) -> Phase:
        """Put back what was there before, whatever the version has become meanwhile."""
        route = self._route
        if route.live == self._version:
            await self._registry.rollback(self._channel, epoch=self._epoch, **who)
        elif route.canary == self._version:
            await self._registry.end_trial(self._channel, epoch=self._epoch, **who)
        else:
            state = State((await self._registry.version(self._version)).state)
            if state in (State.CANDIDATE, State.SHADOW):
                await self._registry.reject(self._version, **who)
        return Phase.ROLLED_BACK
