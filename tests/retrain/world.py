"""The environment of a run for tests.

It has a real database, a trainer process that trains nothing, and a fake registry, chat and judge
that tests control.
"""
# ruff: noqa: ARG002 - fakes take what the ports give them

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from adapters.errors import CorruptArtifactError, StaleRouteError
from adapters.models import Channel, Version
from adapters.routing.lifecycle import ADDRESSABLE, State, check_transition
from adapters.routing.route import (
    RouteView,
    state_changes,
    watch_of,
    with_canary,
    with_live,
    with_rollback,
    with_shadow,
    without,
    without_trial,
)
from adapters.vetting.base_model import BaseModelInfo
from common.database import Guard, allow_any
from feedback.config import MetricConfig
from retrain.config import (
    CounterpartsConfig,
    EvaluationConfig,
    GateConfig,
    PairsConfig,
    RetrainConfig,
    TrainerConfig,
)
from retrain.launchers.local import SubprocessLauncher
from retrain.ports import Answer, RunObserver
from retrain.run.context import RunEnvironment
from retrain.service import RunService
from server.database.database import Database
from tests.retrain.log import CHANNEL, TENANT, Log

FAKE_TRAINER = Path(__file__).with_name("fake_trainer.py")
SATURDAY = datetime(2026, 11, 21, 12, tzinfo=UTC)
USERS = 40


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self, now: datetime = SATURDAY) -> None:
        self.now = now
        self.passed = 0.0

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.passed

    def forward(self, **by: float) -> None:
        """Let time pass."""
        self.now += timedelta(**by)
        self.passed += timedelta(**by).total_seconds()

    def set(self, **by: float) -> None:
        """Set the wall clock only."""
        self.now += timedelta(**by)


@dataclass
class Swapped:
    seconds: float = 0.01


class FakeRegistry:
    """Keeps versions, the route and all calls in memory."""

    def __init__(self, clock: Clock, database: Database) -> None:
        self.clock = clock
        self.database = database
        self.rows: dict[str, Version] = {}
        self.route = RouteView(channel=CHANNEL, tenant=TENANT)
        self.calls: list[tuple[str, str]] = []
        self.more: dict[str, RouteView] = {}
        self.lost: set[str] = set()
        self.adding = asyncio.Event()
        self.adding.set()

    def routes(self) -> Mapping[str, RouteView]:
        named = frozenset(name for name, row in self.rows.items() if row.state in ADDRESSABLE)
        return {CHANNEL: replace(self.route, versions=named), **self.more}

    async def route_now(self, channel: str) -> RouteView:
        return self.routes()[channel]

    async def versions(self, channel: str) -> Sequence[Version]:
        return list(self.rows.values())

    async def version(self, version: str) -> Version:
        return self.rows[version]

    async def lineage(self, version: str) -> list[str]:
        found = [version]
        while (parent := self.rows[found[-1]].parent) is not None:
            found.append(parent)
        return found

    async def add(
        self,
        folder: Path,
        *,
        channel: str,
        actor: str,
        slot: str | None,
        run: str | None,
        parent: str | None,
        figures: dict[str, Any],
        guard: Guard = allow_any,
    ) -> Version:
        await self.adding.wait()
        await self._ask(guard)
        name = f"{slot}-{len(self.rows):06x}"
        self.calls.append(("add", name))
        self.rows[name] = version_row(name, parent=parent, run=run, folder=str(folder))
        return self.rows[name]

    async def load(self, version: str) -> None:
        if version in self.lost:
            raise CorruptArtifactError(version, "a file is missing")
        self.calls.append(("load", version))

    async def promote(
        self,
        version: str,
        *,
        actor: str,
        reason: str,
        holdback_share: float = 0.0,
        epoch: int | None = None,
        guard: Guard = allow_any,
    ) -> Swapped:
        await self._ask(guard)
        self._check(epoch)
        self.calls.append(("promote", version))
        trial = watch_of(self.route.trial or "salt") if holdback_share else ""
        self._to(with_live(self.route, version, holdback_share=holdback_share, trial=trial))
        return Swapped()

    async def set_shadow(
        self, version: str, share: float, *, actor: str, reason: str, epoch: int | None = None
    ) -> RouteView:
        self._check(epoch)
        self.calls.append(("shadow", version))
        return self._to(with_shadow(self.route, version, share))

    async def set_canary(
        self, version: str, share: float, *, actor: str, reason: str, epoch: int | None = None
    ) -> RouteView:
        self._check(epoch)
        self.calls.append(("canary", version))
        trial = self.route.trial if self.route.canary == version else f"trial-{version}"
        return self._to(with_canary(self.route, version, share, trial))

    async def end_trial(
        self, channel: str, *, actor: str, reason: str, epoch: int | None = None
    ) -> RouteView:
        self._check(epoch)
        self.calls.append(("end_trial", channel))
        return self._to(without_trial(self.route))

    async def rollback(
        self, channel: str, *, actor: str, reason: str, epoch: int | None = None
    ) -> None:
        self._check(epoch)
        self.calls.append(("rollback", channel))
        self._to(with_rollback(self.route))

    def _check(self, epoch: int | None) -> None:
        if epoch not in (None, self.route.epoch):
            raise StaleRouteError(CHANNEL)

    def _to(self, route: RouteView) -> RouteView:
        for name, state in state_changes(self.route, route).items():
            self._move(name, state)
        self.route = route
        return route

    async def _ask(self, guard: Guard) -> None:
        async with self.database.write() as session:
            await guard(session)

    async def reject(
        self, version: str, *, actor: str, reason: str, guard: Guard = allow_any
    ) -> None:
        await self._ask(guard)
        self.calls.append(("reject", version))
        self.route = without(self.route, {version})
        self._move(version, State.REJECTED)

    def _move(self, version: str, state: State) -> None:
        """As strict as the real one: what has ended cannot end again."""
        check_transition(version, State(self.rows[version].state), state)
        self.rows[version].state = state.value

    async def set_figures(
        self, version: str, figures: dict[str, Any], *, guard: Guard = allow_any
    ) -> None:
        await self._ask(guard)
        self.rows[version].figures = {**self.rows[version].figures, **figures}

    def called(self, what: str) -> list[str]:
        return [name for call, name in self.calls if call == what]


def version_row(
    name: str, *, parent: str | None = None, run: str | None = None, folder: str = "nowhere"
) -> Version:
    return Version(
        name=name,
        channel=CHANNEL,
        state="candidate",
        parent=parent,
        run=run,
        base_model="tiny",
        base_fingerprint="f" * 64,
        folder=folder,
        digest="0" * 64,
        rank=8,
        size_bytes=1,
        created_at=SATURDAY,
        created_by="test",
        figures={},
    )


class FakeChat:
    """The candidate answers `good words`, others `bad words`, unless a test sets the texts."""

    def __init__(self) -> None:
        self.candidate = "good words"
        self.others = "bad words"
        self.error: Exception | None = None
        self.asked: list[str] = []

    async def answer(self, *, model: str, request: Mapping[str, Any]) -> Answer:
        self.asked.append(model)
        if self.error is not None:
            raise self.error
        name = model.partition("@")[2]
        text = self.candidate if name != "base" and name == self.newest else self.others
        return Answer(text, "stop", f"chatcmpl-{len(self.asked)}", 2)

    newest: str = ""


class FakeJudge:
    """Prefers answers that begin with `good`."""

    async def compare(self, conversation: object, a: str, b: str) -> float:
        return 0.5 + (a.startswith("good") - b.startswith("good")) / 2


class Watcher(RunObserver):
    """Records all calls."""

    def __init__(self) -> None:
        self.states: list[tuple[str, str | None]] = []
        self.pairs: Mapping[str, int] = {}
        self.counterparts: Mapping[str, Mapping[str, int]] = {}
        self.decisions: list[str] = []
        self.successes: list[datetime] = []
        self.phases: list[str] = []
        self.evidence: Mapping[str, float] = {}
        self.left: dict[str, float] = {}

    def wallet(self, channel: str, alpha: float) -> None:
        self.left[channel] = alpha

    def run_state(self, channel: str, state: str, step: str | None) -> None:
        self.states.append((state, step))

    def run_pairs(
        self, channel: str, by_signal: Mapping[str, int], left_out: Mapping[str, int]
    ) -> None:
        self.pairs = by_signal

    def run_labels(self, channel: str, up: int, down: int) -> None:
        self.labels = (up, down)

    def run_counterparts(self, channel: str, by_origin: Mapping[str, Mapping[str, int]]) -> None:
        self.counterparts = by_origin

    def gate_decided(self, channel: str, outcome: str) -> None:
        self.decisions.append(outcome)

    def run_succeeded(self, channel: str, at: datetime) -> None:
        self.successes.append(at)

    def rollout_moved(self, channel: str, phase: str) -> None:
        self.phases.append(phase)

    def rollout_evidence(self, channel: str, evidence: Mapping[str, float]) -> None:
        self.evidence = evidence


def make_config(behaviour: str = "good", **more: Any) -> RetrainConfig:
    values: dict[str, Any] = {
        "minimum_pairs": 5,
        "pairs": PairsConfig(held_out_share=0.5),
        "gate": GateConfig(comparisons=12, minimum=10),
        "evaluation": EvaluationConfig(attempts=1, first_pause=0),
        "counterparts": CounterpartsConfig(enabled=False),  # the fake chat writes no log
        "trainer": TrainerConfig(
            command=(sys.executable, str(FAKE_TRAINER), behaviour),
            terminate_seconds=5,
            learning_rate_first=2e-3,
        ),
    }
    return RetrainConfig(**{**values, **more})


@dataclass
class House:
    """Everything that a run uses."""

    database: Database
    folder: Path
    config: RetrainConfig
    clock: Clock = field(default_factory=Clock)
    services: list[RunService] = field(default_factory=list)
    alone: bool = False
    metrics: dict[str, MetricConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.registry = FakeRegistry(self.clock, self.database)
        self.chat: Any = _Following(self.registry)
        self.counterpart_chat: Any = self.chat
        self.watcher = Watcher()
        self.judge: Any = FakeJudge()
        self.reader: Any = None

    def service(self) -> RunService:
        """Return a new run service on the same data, as in another process."""
        service = RunService(self.world())
        self.services.append(service)
        return service

    async def close(self) -> None:
        """Stop all runs."""
        for service in self.services:
            await service.close()
        await self.database.close()

    def world(self) -> RunEnvironment:
        return RunEnvironment(
            database=self.database,
            registry=self.registry,
            adapter_path=lambda version: Path(version.folder),
            chat=self.chat,
            counterpart_chat=self.counterpart_chat,
            judge=self.judge,
            launcher=SubprocessLauncher(self.config.trainer),
            config=self.config,
            base=BaseModelInfo("tiny", "f" * 64, 64),
            clock=self.clock,
            observer=self.watcher,
            folder=self.folder,
            alone=self.alone,
            metrics=self.metrics,
            reader=self.reader,
            monotonic=self.clock.monotonic,
        )

    async def open(self) -> None:
        """Set up the channel and a week of chats and preferences."""
        async with self.database.write() as session:
            created = SATURDAY - timedelta(days=100)
            session.add(Channel(name=CHANNEL, tenant=TENANT, created_at=created))
        await week(SATURDAY - timedelta(days=1), "first").write(self.database)


class _Following(FakeChat):
    """Knows which version is the newest."""

    def __init__(self, registry: FakeRegistry) -> None:
        super().__init__()
        self._registry = registry

    async def answer(self, *, model: str, request: Mapping[str, Any]) -> Answer:
        self.newest = next(reversed(self._registry.rows), "")
        return await super().answer(model=model, request=request)


def week(begin: datetime, name: str) -> Log:
    """Return a log in which forty users each ask their own question twice and prefer one answer."""
    log = Log(begin)
    log.prefix = name
    for number in range(USERS):
        question = f"{name} question number {number}"
        user = f"user {number}"
        better = log.ask(question, "good answer", user=user)
        worse = log.ask(question, "bad answer", user=user)
        log.prefer(better, worse)
    return log
