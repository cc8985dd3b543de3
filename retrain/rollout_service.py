"""Rollouts: begun by a run, moved on by ticks, approved or ended by people.

Each tick reads what users have shown from the log and asks the online gate. Nothing is kept between
ticks but the row: a restart loses nothing, and whoever ticks comes to the same decision.
"""

import asyncio
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from adapters.errors import AdaptersError
from adapters.route import RouteView, watch_of
from feedback.ports import Database
from feedback.trials import served_in, shadow_figures
from retrain.canary_config import CanaryConfig
from retrain.config import RetrainConfig
from retrain.errors import NotAwaitedError
from retrain.models import Rollout, RolloutEvent
from retrain.online_gate import OnlineVerdict, judge_canary, judge_watch
from retrain.ports import AdapterRegistry, Clock, RunObserver
from retrain.rollout import (
    OPEN,
    STAY,
    Phase,
    ShadowFigures,
    Step,
    after_canary,
    after_shadow,
    after_watch,
    phase_by_route,
)
from retrain.rollout_moves import RolloutMoves
from retrain.rollout_repository import RolloutRepository
from retrain.trial_evidence import Stage, trial_evidence
from retrain.trial_log import TrialReader

ACTOR = "rollout"

_log = structlog.get_logger()


class RolloutService:
    """Moves the rollouts of all channels on."""

    def __init__(
        self,
        database: Database,
        registry: AdapterRegistry,
        config: RetrainConfig,
        clock: Clock,
        observer: RunObserver,
    ) -> None:
        self.rows = RolloutRepository(database)
        self._database = database
        self._registry = registry
        self._config = config
        self._clock = clock
        self._observer = observer
        self._reader = TrialReader(database, config)
        self._turn = asyncio.Lock()

    async def under_way(self, channel: str) -> str | None:
        """The version that is being rolled out on the channel and not merely watched, if any."""
        open_ones = await self.rows.open(channel)
        return next((one.version for one in open_ones if one.phase != Phase.WATCH), None)

    async def begin(self, version: str, channel: str, run: str | None, reason: str) -> None:
        """Start a version on its way; a second call for the same one changes nothing.

        Raises `RolloutUnderWayError` where the channel has another one.
        """
        if await self.rows.find(version) is not None:
            return
        now, config = self._clock(), self._config
        asked = config.approval == "manual" and config.rollout == "direct"
        phase = Phase.APPROVAL if asked else Phase.SHADOW
        rollout = Rollout(
            version=version,
            channel=channel,
            previous=self._registry.routes()[channel].live,
            run=run,
            phase=phase,
            began_at=now,
            stages=[_stage(phase, now, 0.0)],
            settings=config.canary.model_dump(mode="json"),
            reason=reason,
        )
        await self.rows.insert(rollout, self._event(rollout, "begin", phase, ACTOR, reason, {}))
        if phase == Phase.SHADOW:
            await self._do(rollout, _first_step(config), None, ACTOR)

    async def tick(self) -> None:
        """Move every open rollout on; one that cannot be is tried again at the next tick."""
        async with self._turn:
            try:
                open_ones = await self.rows.open()
            except SQLAlchemyError as error:  # the database is away: the next tick looks again
                _log.warning("rollouts_interrupted", error=type(error).__name__)
                return
            for rollout in open_ones:
                await self._move_on_safely(rollout)

    async def approve(self, version: str, *, actor: str, reason: str) -> Rollout:
        """Say yes where a person has the last word. Raises `NotAwaitedError`."""
        async with self._turn:
            rollout = await self.rows.get(version)
            if rollout.phase not in (Phase.APPROVAL, Phase.PROMOTION):
                raise NotAwaitedError(f"{version} waits for nobody: it is {rollout.phase}")
            await self._do(rollout, Step("promote", reason), None, actor)
        return await self.rows.get(version)

    async def refuse(self, version: str, *, actor: str, reason: str) -> Rollout:
        """End an open rollout: its version goes, and what was live before answers everybody."""
        async with self._turn:
            rollout = await self.rows.get(version)
            if Phase(rollout.phase) not in OPEN:
                raise NotAwaitedError(f"{version} is {rollout.phase} already")
            await self._do(rollout, Step("roll_back", reason), None, actor)
        return await self.rows.get(version)

    async def _move_on_safely(self, rollout: Rollout) -> None:
        try:
            await self._move_on(rollout)
        except (AdaptersError, SQLAlchemyError) as error:
            _log.warning("rollout_waits", version=rollout.version, error=type(error).__name__)

    async def _move_on(self, rollout: Rollout) -> None:
        route = self._registry.routes()[rollout.channel]
        phase = phase_by_route(Phase(rollout.phase), rollout.version, route, rollout.trial)
        if phase != rollout.phase:
            rollout = await self._follow(rollout, phase, route)
        step, verdict = await self._next(rollout, route)
        self._observer.rollout_evidence(rollout.channel, _evidence(verdict))
        if step.move != "stay":
            await self._do(rollout, step, verdict, ACTOR)
        elif verdict is not None:
            await self.rows.write(rollout.version, verdict=verdict.model_dump(mode="json"))

    async def _follow(self, rollout: Rollout, phase: Phase, route: RouteView) -> Rollout:
        """Note what the route says has happened since."""
        actor, reason = ACTOR, "The route says so."
        event = self._event(rollout, "follow", phase, actor, reason, {})
        values: dict[str, Any] = {"phase": phase, "stages": self._stages(rollout, phase, route)}
        if phase == Phase.CANARY:
            values["trial"] = route.trial
        if phase == Phase.ENDED:
            values |= {"ended_at": self._clock(), "reason": "The route was changed by hand."}
        await self.rows.write(rollout.version, event, **values)
        return await self.rows.get(rollout.version)

    async def _next(self, rollout: Rollout, route: RouteView) -> tuple[Step, OnlineVerdict | None]:
        """What to do by what users have shown."""
        config, now = CanaryConfig.model_validate(rollout.settings), self._clock()
        match Phase(rollout.phase):
            case Phase.SHADOW:
                figures = await self._shadow(rollout)
                return after_shadow(figures, _began(rollout, Phase.SHADOW), now, config), None
            case Phase.CANARY:
                return await self._after_canary(rollout, route, config, now)
            case Phase.WATCH:
                return await self._after_watch(rollout, route, config, now)
            case _:
                return STAY, None

    async def _after_canary(
        self, rollout: Rollout, route: RouteView, config: CanaryConfig, now: datetime
    ) -> tuple[Step, OnlineVerdict]:
        log = await self._reader.read(rollout, rollout.trial, config)
        stages = _shares(rollout, Phase.CANARY)
        evidence = await asyncio.to_thread(trial_evidence, log, stages, now, watch=False)
        verdict = await asyncio.to_thread(judge_canary, evidence, config.gate)
        served = await served_in(self._database, rollout.trial, "canary")
        ask = self._config.approval == "manual"
        return after_canary(verdict, served, route.canary_share, config, ask=ask), verdict

    async def _after_watch(
        self, rollout: Rollout, route: RouteView, config: CanaryConfig, now: datetime
    ) -> tuple[Step, OnlineVerdict]:
        trial = watch_of(rollout.trial)
        log = await self._reader.read(rollout, trial, config)
        stages = _shares(rollout, Phase.WATCH)
        evidence = await asyncio.to_thread(trial_evidence, log, stages, now, watch=True)
        verdict = await asyncio.to_thread(judge_watch, evidence, config.gate)
        began = _began(rollout, Phase.WATCH)
        return after_watch(verdict, route, rollout.trial, began, now, config), verdict

    async def _shadow(self, rollout: Rollout) -> ShadowFigures:
        answered, failed = await shadow_figures(self._database, rollout.channel, rollout.version)
        return ShadowFigures(answered, failed)

    async def _do(
        self, rollout: Rollout, step: Step, verdict: OnlineVerdict | None, actor: str
    ) -> None:
        """Change the route, then note it with the numbers it was decided on."""
        config = CanaryConfig.model_validate(rollout.settings)
        moves = RolloutMoves(self._registry, rollout.version, rollout.channel, config)
        phase = await moves.make(step.move, {"actor": actor, "reason": step.reason})
        route = self._registry.routes()[rollout.channel]
        numbers = {} if verdict is None else verdict.model_dump(mode="json")
        values: dict[str, Any] = {
            "phase": phase,
            "reason": step.reason,
            "stages": self._stages(rollout, phase, route),
        }
        if verdict is not None:
            values["verdict"] = numbers
        if phase == Phase.CANARY:
            values["trial"] = route.trial
        if phase not in OPEN:
            values["ended_at"] = self._clock()
        event = self._event(rollout, step.move, phase, actor, step.reason, numbers)
        await self.rows.write(rollout.version, event, **values)
        self._observer.rollout_moved(rollout.channel, phase)
        _log.info("rollout_moved", version=rollout.version, move=step.move, phase=phase.value)

    def _stages(self, rollout: Rollout, phase: Phase, route: RouteView) -> list[dict[str, Any]]:
        share = {
            Phase.CANARY: route.canary_share,
            Phase.PROMOTION: route.canary_share,
            Phase.WATCH: 1 - route.holdback_share,
            Phase.SHADOW: route.shadow_share,
        }.get(phase, 0.0)
        return [*rollout.stages, _stage(phase, self._clock(), share)]

    def _event(
        self,
        rollout: Rollout,
        move: str,
        phase: Phase,
        actor: str,
        reason: str,
        numbers: dict[str, Any],
    ) -> RolloutEvent:
        return RolloutEvent(
            id=self.rows.event_id(),
            version=rollout.version,
            channel=rollout.channel,
            at=self._clock(),
            move=move,
            phase=phase,
            actor=actor,
            reason=reason,
            numbers=numbers,
        )


def _evidence(verdict: OnlineVerdict | None) -> dict[str, float]:
    """The E values of a verdict, by claim."""
    if verdict is None:
        return {}
    votes = {
        f"{claim} ({stream})": value
        for stream, figures in verdict.streams.items()
        for claim, value in (("better", figures.better), ("worse", figures.worse))
    }
    alarms = {name: figures.evidence for name, figures in verdict.guardrails.items()}
    return {**votes, **alarms, "voting differs": verdict.voting}


def _first_step(config: RetrainConfig) -> Step:
    """Where a rollout begins that needs no approval."""
    if config.canary.shadow_answers:
        return Step("shadow", "The offline gate let it through.")
    return Step("canary", "The offline gate let it through; no shadow was asked for.")


def _stage(phase: Phase, at: datetime, share: float) -> dict[str, Any]:
    return {"phase": phase.value, "at": at.isoformat(), "share": share}


def _began(rollout: Rollout, phase: Phase) -> datetime:
    """When the phase began."""
    found = [stage for stage in rollout.stages if stage["phase"] == phase.value]
    return datetime.fromisoformat(found[0]["at"]) if found else rollout.began_at


def _shares(rollout: Rollout, phase: Phase) -> list[Stage]:
    """The newer version's share over the phase."""
    return [
        Stage(datetime.fromisoformat(stage["at"]), stage["share"])
        for stage in rollout.stages
        if stage["phase"] == phase.value
    ]
