"""How a rollout's moves change the route. Each move may be repeated after a crash."""

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
    """The moves of one version on its channel; each returns the resulting phase.

    A move raises `StaleRouteError` if the route is no longer `route`, on which the decision was
    based, so that only one of several concurrent deciders succeeds.
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
        """Change the route according to the move. Raises the registry's errors."""
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
        del who  # the route changes on approval only
        return Phase.PROMOTION

    async def _promote(self, who: Who) -> Phase:
        held = self._config.holdback_share if self._config.watch_days else 0.0
        await self._registry.promote(self._version, holdback_share=held, epoch=self._epoch, **who)
        return Phase.WATCH if held else Phase.KEPT

    async def _keep(self, who: Who) -> Phase:
        """End the watch, unless another rollout has started a trial in the meantime."""
        if self._route.trial == watch_of(self._trial):
            await self._registry.end_trial(self._channel, epoch=self._epoch, **who)
        return Phase.KEPT

    async def _refuse(self, who: Who) -> Phase:
        await self._roll_back(who)
        return Phase.REFUSED

    async def _roll_back(self, who: Who) -> Phase:
        """Restore the previous version, whichever stage the version has reached."""
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
