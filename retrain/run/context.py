"""The context of a run's steps: the run, its folder, its lease, and the environment of all runs."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.models import Version
from adapters.names import BASE
from adapters.vetting.base_model import BaseModelInfo
from common.database import Database, Guard
from feedback.config import MetricConfig
from retrain.config import RetrainConfig
from retrain.evaluation.judges import Judge
from retrain.models import Run
from retrain.ports import AdapterRegistry, Chat, Clock, Launcher, MessageReader, RunObserver
from retrain.preflight import OWN_JUDGES, Inspected, Problem, find_problems
from retrain.repository import Lease, RunRepository
from retrain.rollout.service import RolloutService
from retrain.run.leases import Monotonic

ACTOR = "retrain"

SNAPSHOT, JOB, ADAPTER = "snapshot", "job.json", "adapter"
COUNTERPARTS, TRAINING = "counterparts", "training"


@dataclass(slots=True)
class RunEnvironment:
    """What all runs of a process share.

    Attributes:
        adapter_path: Returns a version's folder, fetched and verified if necessary; blocks.
        chat: The chat endpoint for evaluations.
        counterpart_chat: The same endpoint for counterparts: its traffic is recorded with a mode of
            its own, and waits while users need the engine.
        judge: The judge that the settings name. None if they name none, and where `retrain.judge`
            is `"people"` or `"none"`; `retrain.run.judging.run_judge` returns that of a run.
        folder: Parent of the runs' folders.
        chat_template: The engine's chat template, if it is not the tokenizer's own.
        base_on_disk: Returns the fingerprint of the base model's current files, which a trainer
            would read.
        alone: Whether no other process can own a run of this database (SQLite, whose folder is
            locked by one server). Then interrupted runs are resumed at once, and an owner that
            cannot reach the database keeps its trainer.
        reader: Reads users' next messages; None if they are not used.
        metrics: The custom metrics of the settings (`[feedback.metrics]`), by name.
        training: Lock that admits one trainer at a time.

    """

    database: Database
    registry: AdapterRegistry
    adapter_path: Callable[[Version], Path]
    chat: Chat
    counterpart_chat: Chat
    judge: Judge | None
    launcher: Launcher
    config: RetrainConfig
    base: BaseModelInfo
    clock: Clock
    observer: RunObserver
    folder: Path
    chat_template: str | None = None
    base_on_disk: Callable[[], str] | None = None
    alone: bool = False
    reader: MessageReader | None = None
    metrics: Mapping[str, MetricConfig] = field(default_factory=dict)
    monotonic: Monotonic = time.monotonic
    training: asyncio.Lock = field(default_factory=asyncio.Lock)
    runs: RunRepository = field(init=False)
    rollouts: RolloutService = field(init=False)

    def __post_init__(self) -> None:
        self.runs = RunRepository(self.database)
        self.rollouts = RolloutService(
            self.database, self.registry, self.config, self.clock, self.observer, self.metrics
        )

    @property
    def finds_counterparts(self) -> bool:
        """Whether a run looks for counterparts of answers that were judged by themselves."""
        judged = self.judge is not None or self.config.judge == "people"
        return judged and self.config.counterparts.enabled

    def problems(self) -> list[Problem]:
        """Return what would make a run useless now. Reads files, so it may block."""
        return find_problems(
            Inspected(
                self.config,
                judged=self.judge is not None or self.config.judge in OWN_JUDGES,
                served=self.base.fingerprint,
                on_disk=self.base_on_disk,
                family=self.base.family,
            )
        )


@dataclass(slots=True)
class RunContext:
    """A run as its owner sees it. `run` is the row as it was last read or written."""

    environment: RunEnvironment
    run: Run
    lease: Lease

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self.environment.folder / self.run.id

    @property
    def snapshot(self) -> Path:
        """Folder of the snapshot."""
        return self.folder / SNAPSHOT

    @property
    def guard(self) -> Guard:
        """A guard that permits a change while the lease is held; raises `LeaseLostError`."""
        return self.environment.runs.holding(self.lease)

    @property
    def live(self) -> str:
        """The version that was live when the snapshot was taken."""
        return self.run.parent or BASE

    async def save(self, **values: Any) -> None:
        """Write columns of the run's row. Raises `LeaseLostError`."""
        await self.environment.runs.write(self.lease, **values)
        for name, value in values.items():
            setattr(self.run, name, value)

    async def save_figures(self, **figures: Any) -> None:
        """Add to the run's figures. Raises `LeaseLostError`."""
        await self.save(figures={**self.run.figures, **figures})


@dataclass(frozen=True, slots=True)
class Ending:
    """The final state of a run, and its reason in one line."""

    state: str
    reason: str
