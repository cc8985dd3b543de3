"""Rollouts: started by a run, advanced by ticks, approved or refused by administrators.

Each tick reads the evidence from the log and evaluates the online gate. The only state is the
rollout's row, so a restart loses nothing, and every server comes to the same decision.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from time import monotonic
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from adapters.errors import AdaptersError
from adapters.routing.route import RouteView, watch_of, watched
from common.database import Database, Guard, allow_any
from feedback.config import MetricConfig
from feedback.reading.trials import served_in, shadow_figures
from retrain.config import RetrainConfig
from retrain.errors import NotAwaitedError
from retrain.gates.budget import YEAR, Budget
from retrain.gates.online import OnlineVerdict, judge_canary, judge_watch
from retrain.models import Rollout, RolloutEvent
from retrain.ports import AdapterRegistry, Clock, RunObserver
from retrain.rollout.decisions import (
    OPEN,
    STAY,
    NextMove,
    Phase,
    ShadowFigures,
    after_canary,
    after_shadow,
    after_watch,
    first_step,
    phase_by_route,
    while_awaited,
)
from retrain.rollout.moves import RolloutMoves
from retrain.rollout.repository import RolloutRepository
from retrain.rollout.stages import ON_TRIAL, began, evidence_by_claim, share_moved, shares, stage
from retrain.rollout.trial_evidence import trial_evidence
from retrain.rollout.trial_reader import TrialReader
from retrain.rollout.trial_settings import TrialSettings
from retrain.schemas import BudgetOut

ACTOR = "rollout"
_SLOW_SECONDS = 1.0
"""Seconds from which on reading a log counts as slow."""
_PAUSE_FACTOR = 20
"""After a slow read, the log is not read for this many times its duration."""

_log = structlog.get_logger()


class RolloutService:
    """Advances the rollouts of all channels.

    Each channel has a lock, held while a decision is applied but not while the log is read. So an
    administrator who refuses a version waits neither for the evidence nor for another channel,
    whose move may wait for a server to load a version. A tick handles one channel after the other:
    its duration is bounded, and reading several logs concurrently would slow down requests.
    """

    def __init__(
        self,
        database: Database,
        registry: AdapterRegistry,
        config: RetrainConfig,
        clock: Clock,
        observer: RunObserver,
        metrics: Mapping[str, MetricConfig],
    ) -> None:
        self.rows = RolloutRepository(database)
        self._database = database
        self._registry = registry
        self._config = config
        self._clock = clock
        self._observer = observer
        self._metrics = metrics
        self._reader = TrialReader(database, config)
        self._paused_until: dict[str, float] = {}
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._shown: dict[str, dict[str, float]] = {}

    @property
    def budget(self) -> Budget:
        """The budget of false promotions, the same for each channel."""
        return Budget(self._config.budget.false_promotions)

    async def budget_of(self, channel: str) -> BudgetOut:
        """Return a channel's budget as it is now."""
        now, config, budget = self._clock(), self._config, self.budget
        spent = await self.rows.spendings(channel)
        most = config.canary.gate.alpha_promote if config.rollout == "canary" else config.gate.alpha
        return BudgetOut(
            channel=channel,
            applies=config.budgeted(judged=True),
            false_promotions=budget.false_promotions,
            wallet=budget.wallet(spent, now),
            cap=budget.cap,
            next_alpha=budget.grant(spent, now, most),
            spent=sum(one.alpha for one in spent if one.at is None or one.at > now - YEAR),
        )

    async def under_way(self, channel: str) -> str | None:
        """Return the version that is being rolled out on the channel, not only watched, or None."""
        open_ones = await self.rows.open(channel)
        return next((one.version for one in open_ones if one.phase != Phase.WATCH), None)

    async def has(self, version: str) -> bool:
        """Return whether the version has a rollout, open or ended."""
        return await self.rows.find(version) is not None

    async def begin(
        self,
        version: str,
        channel: str,
        run: str | None,
        reason: str,
        guard: Guard = allow_any,
        *,
        judged: bool = True,
    ) -> None:
        """Start the rollout of a version; does nothing if it has one already.

        If the first move fails, the next tick retries it. Raises `RolloutUnderWayError` if the
        channel has another rollout, and whatever the guard raises.

        Args:
            version: The version.
            channel: Its channel.
            run: The run that trained it, if any.
            reason: Why it is rolled out.
            guard: Permits the change.
            judged: Whether a judge that agrees with people preferred the version. If not, users
                alone decide, and its promotion takes its alpha from the yearly budget.

        """
        now, config = self._clock(), self._config
        asked = config.approval == "manual" and config.rollout == "direct"
        phase = Phase.APPROVAL if asked else Phase.BEGUN
        budget = self.budget if config.budgeted(judged=judged) else None
        route = await self._registry.route_now(channel)
        rollout = Rollout(
            version=version,
            channel=channel,
            previous=route.live,
            run=run,
            phase=phase,
            began_at=now,
            stages=[stage(phase, now, route)],
            settings=TrialSettings.of(config.canary, self._metrics).model_dump(mode="json"),
            reason=reason,
        )
        async with self._locks[channel]:
            if await self.has(version):
                return
            event = self._event(rollout, NextMove("begin", reason), phase)
            await self.rows.insert(rollout, event, guard, budget)
        self._observer.rollout_moved(channel, phase)
        await self._advance_safely(rollout)

    async def tick(self) -> None:
        """Advance every open rollout. Failures are logged and retried at the next tick."""
        try:
            open_ones = await self.rows.open()
        except SQLAlchemyError as error:  # the database is unreachable: retry at the next tick
            _log.warning("rollouts_interrupted", error=type(error).__name__)
            return
        before, self._shown = self._shown, {}
        for rollout in open_ones:
            paused = monotonic() < self._paused_until.get(rollout.version, 0.0)
            if paused:
                self._shown |= {name: before[name] for name in {rollout.channel} & before.keys()}
            await self._advance_safely(rollout, read=not paused)
        for channel in before.keys() | self._shown.keys():
            self._observer.rollout_evidence(channel, self._shown.get(channel, {}))
        await self._show_budgets()

    async def _show_budgets(self) -> None:
        """Export each channel's wallet, where the budget applies."""
        if not self._config.budgeted(judged=True):
            return
        try:
            for channel in self._registry.routes():
                spent = await self.rows.spendings(channel)
                self._observer.wallet(channel, self.budget.wallet(spent, self._clock()))
        except SQLAlchemyError as error:  # the database is unreachable: retry at the next tick
            _log.warning("budget_not_read", error=type(error).__name__)

    async def approve(self, version: str, *, actor: str, reason: str) -> Rollout:
        """Promote a version that waits for approval. Raises `NotAwaitedError` if it does not."""
        async with self._locks[(await self.rows.get(version)).channel]:
            rollout, route = await self._synchronised(version)
            if rollout.phase not in (Phase.APPROVAL, Phase.PROMOTION):
                raise NotAwaitedError(
                    f"{version} does not wait for approval: it is {rollout.phase}"
                )
            await self._do(rollout, route, NextMove("promote", reason), None, actor)
        return await self.rows.get(version)

    async def refuse(self, version: str, *, actor: str, reason: str) -> Rollout:
        """End an open rollout: withdraw its version and restore the previous one for all users.

        Raises `NotAwaitedError` if it has ended.
        """
        async with self._locks[(await self.rows.get(version)).channel]:
            rollout, route = await self._synchronised(version)
            if Phase(rollout.phase) not in OPEN:
                raise NotAwaitedError(f"{version} is {rollout.phase} already")
            await self._do(rollout, route, NextMove("refuse", reason), None, actor)
        return await self.rows.get(version)

    async def _advance_safely(self, rollout: Rollout, *, read: bool = True) -> None:
        """Advance a rollout. Without `read` it only follows the route; its log is not read."""
        try:
            await self._advance(rollout.version, self._locks[rollout.channel], read=read)
        except (AdaptersError, SQLAlchemyError) as error:
            _log.warning("rollout_waits", version=rollout.version, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - one rollout must not stop others, nor the runs
            _log.error("rollout_failed", version=rollout.version, error=type(error).__name__)

    async def _advance(self, version: str, lock: asyncio.Lock, *, read: bool) -> None:
        async with lock:
            rollout, route = await self._synchronised(version)
        if not read:
            return
        with self._pause_after_slow_read(version):
            step, verdict = await self._next(rollout, route)
        self._shown.setdefault(rollout.channel, {}).update(evidence_by_claim(verdict))
        async with lock:
            current, route_now = await self._synchronised(version)
            if (current.phase, route_now.epoch) != (rollout.phase, route.epoch):
                return  # changed in the meantime: decide again at the next tick
            if step.move != "stay":
                await self._do(current, route_now, step, verdict, ACTOR)
            else:
                await self._save_verdict(current, verdict)

    @contextmanager
    def _pause_after_slow_read(self, version: str) -> Iterator[None]:
        """Pause reading a version's log after a slow read.

        Only the reading is timed: a move may wait for a load, and must be followed up soon.
        """
        began = monotonic()
        try:
            yield
        finally:
            now = monotonic()
            self._paused_until[version] = (
                now + _PAUSE_FACTOR * (now - began) if now - began > _SLOW_SECONDS else 0.0
            )

    async def _save_verdict(self, rollout: Rollout, verdict: OnlineVerdict | None) -> None:
        """Store the verdict if it has changed."""
        numbers = None if verdict is None else verdict.model_dump(mode="json")
        if numbers not in (None, rollout.verdict):
            await self.rows.save_verdict(rollout.version, numbers)

    async def _synchronised(self, version: str) -> tuple[Rollout, RouteView]:
        """Return the row, updated to the phase that follows from the route, and the route.

        Moves change the route before the row, so the route is read after the row. It is read from
        the database, since another server may have changed it.
        """
        rollout = await self.rows.get(version)
        route = await self._registry.route_now(rollout.channel)
        phase = phase_by_route(Phase(rollout.phase), version, route, rollout.trial)
        if phase != rollout.phase or share_moved(rollout, phase, route):
            step = NextMove("follow", "The route has changed.")
            if phase == Phase.ENDED:
                reason = (
                    "The version is no longer in the route: changed by hand, or the base model."
                )
                step = NextMove("follow", reason)
            await self._write(rollout, route, step, phase, ACTOR, unmoved=True)
            rollout = await self.rows.get(version)
        return rollout, route

    async def _next(
        self, rollout: Rollout, route: RouteView
    ) -> tuple[NextMove, OnlineVerdict | None]:
        """Return the next move, and the online gate's verdict if there is one in this phase."""
        config, now = TrialSettings.model_validate(rollout.settings), self._clock()
        match Phase(rollout.phase):
            case Phase.BEGUN:
                return first_step(rollout.began_at, now, config), None
            case Phase.SHADOW:
                figures = await self._shadow(rollout)
                return after_shadow(figures, began(rollout, Phase.SHADOW), now, config), None
            case Phase.CANARY:
                return await self._after_canary(rollout, route, config, now)
            case Phase.PROMOTION:
                verdict, _ = await self._verdict(rollout, config, now, watch=False, awaited=True)
                return while_awaited(verdict), verdict
            case Phase.WATCH:
                return await self._after_watch(rollout, route, config, now)
            case _:
                return STAY, None

    async def _after_canary(
        self, rollout: Rollout, route: RouteView, config: TrialSettings, now: datetime
    ) -> tuple[NextMove, OnlineVerdict]:
        verdict, unread = await self._verdict(rollout, config, now, watch=False)
        served = await served_in(self._database, rollout.trial, "canary")
        ask = self._needs_approval(rollout)
        step = after_canary(verdict, served, route.canary_share, config, ask=ask, unread=unread)
        return step, verdict

    def _needs_approval(self, rollout: Rollout) -> bool:
        """Whether a person must approve a promotion.

        Also if the rollout began outside the yearly budget, and all promotions must be inside now.
        """
        config = self._config
        outside = config.budgeted(judged=True) and rollout.alpha is None
        return config.approval == "manual" or outside

    async def _after_watch(
        self, rollout: Rollout, route: RouteView, config: TrialSettings, now: datetime
    ) -> tuple[NextMove, OnlineVerdict]:
        verdict, _ = await self._verdict(rollout, config, now, watch=True)
        start = began(rollout, Phase.WATCH)
        return after_watch(verdict, route, rollout.trial, start, now, config), verdict

    async def _verdict(
        self,
        rollout: Rollout,
        config: TrialSettings,
        now: datetime,
        *,
        watch: bool,
        awaited: bool = False,
    ) -> tuple[OnlineVerdict, bool]:
        """Return the verdict, and whether there are answers not measured by the harm metrics."""
        trial = watch_of(rollout.trial) if watch else rollout.trial
        log = await self._reader.read(rollout, trial, config)
        stages = shares(rollout, {Phase.WATCH} if watch else ON_TRIAL)
        judge = judge_watch if watch or awaited else judge_canary
        evidence = await asyncio.to_thread(trial_evidence, log, stages, now, watch=watch)
        return await asyncio.to_thread(judge, evidence, config.gate), log.unread

    async def _shadow(self, rollout: Rollout) -> ShadowFigures:
        answered, failed = await shadow_figures(self._database, rollout.channel, rollout.version)
        return ShadowFigures(answered, failed)

    async def _do(
        self,
        rollout: Rollout,
        route: RouteView,
        step: NextMove,
        verdict: OnlineVerdict | None,
        actor: str,
    ) -> None:
        """Change the route, then store the new phase with the numbers it is based on.

        Of several servers only one changes the route. A move that does not change it is stored by
        the first server.
        """
        config = TrialSettings.model_validate(rollout.settings)
        moves = RolloutMoves(self._registry, rollout, config, route)
        phase = await moves.make(step.move, {"actor": actor, "reason": step.reason})
        numbers = rollout.verdict if verdict is None else verdict.model_dump(mode="json")
        after = await self._registry.route_now(rollout.channel)
        unmoved = after.epoch == route.epoch
        await self._write(rollout, after, step, phase, actor, unmoved=unmoved, verdict=numbers)

    async def _write(
        self,
        rollout: Rollout,
        route: RouteView,
        step: NextMove,
        phase: Phase,
        actor: str,
        *,
        unmoved: bool,
        **more: Any,
    ) -> None:
        """Store a new phase or share with its event; with `unmoved`, unless the row has changed."""
        now = self._clock()
        values: dict[str, Any] = {
            **more,
            "phase": phase,
            "reason": step.reason,
            "stages": [*rollout.stages, stage(phase, now, route)],
        }
        if phase in (*ON_TRIAL, Phase.WATCH) and route.trial:
            values["trial"] = watched(route.trial)
        if phase not in OPEN:
            values["ended_at"] = now
        numbers = {**(more.get("verdict") or {}), **step.numbers}
        event = self._event(rollout, step, phase, actor, numbers)
        if not await self.rows.move(rollout, event, unmoved=unmoved, **values):
            return
        self._observer.rollout_moved(rollout.channel, phase)
        _log.info("rollout_moved", version=rollout.version, move=step.move, phase=phase.value)

    def _event(
        self,
        rollout: Rollout,
        step: NextMove,
        phase: Phase,
        actor: str = ACTOR,
        numbers: Mapping[str, Any] | None = None,
    ) -> RolloutEvent:
        return RolloutEvent(
            id=self.rows.event_id(),
            version=rollout.version,
            channel=rollout.channel,
            at=self._clock(),
            move=step.move,
            phase=phase,
            actor=actor,
            reason=step.reason,
            numbers=dict(numbers or {}),
        )
