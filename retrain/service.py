"""The weekly runs: started, resumed, cancelled, looked at."""

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog

from common.files import PRIVATE_FOLDER
from retrain.dataset.export import exported
from retrain.dataset.snapshot import freeze, why_too_few
from retrain.errors import LeaseLostError
from retrain.evaluation.storage import read_rows
from retrain.models import Run
from retrain.repository import Lease
from retrain.rollout.service import RolloutService
from retrain.run.candidates import refuse_candidates
from retrain.run.context import RunContext, RunEnvironment
from retrain.run.leases import Watch
from retrain.run.runner import SUCCEEDED, Runner, Stop
from retrain.run.steps import STEPS, about_now, pair_log
from retrain.schemas import ExportFormat, PlanOut, RunOut
from retrain.slots import check_slot, is_taken, next_attempt, run_id, slot_of

SCHEDULED, MANUAL = "schedule", "manual"
OWNERS_MAX = 5
"""A run that lost so many owners brings them down: it is not taken over once more."""

_log = structlog.get_logger()


class RunService:
    """Owns the runs of this process; each is a task of its own."""

    def __init__(self, world: RunEnvironment) -> None:
        self._world = world
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._watch = Watch(world.monotonic, world.config.lease_seconds)
        self._runners: dict[str, tuple[Runner, asyncio.Task[None]]] = {}

    @property
    def rollouts(self) -> RolloutService:
        """What becomes of the versions that the gate let through."""
        return self._world.rollouts

    async def start(self) -> None:
        """Tell the observer of the last successes, and take over what was left behind."""
        for channel in await self._world.runs.channels():
            for run in await self._world.runs.of_channel(channel.name):
                if run.state in SUCCEEDED and run.finished_at is not None:
                    self._world.observer.run_succeeded(channel.name, run.finished_at)
                    break
        await self.resume()

    async def close(self) -> None:
        """Stop this process's runs where they are; the next process goes on with them."""
        for runner, _ in list(self._runners.values()):
            runner.stop(Stop.CLOSING)
        await asyncio.gather(*(task for _, task in list(self._runners.values())))

    async def start_run(
        self, channel: str, slot: str | None = None, trigger: str = MANUAL
    ) -> RunOut:
        """Start a run; it goes on after this returns.

        Args:
            channel: Whose adapter is trained.
            slot: The week, `2026-w47`; None: this week.
            trigger: `schedule` (the slot's one run) or `manual` (an attempt more).

        Raises:
            UnknownChannelError: There is no such channel.
            InvalidSlotError: The slot names no week.
            RunInProgressError: The channel has a run that has not ended.
            SlotFinishedError: By hand: the slot has its verdict.
            SlotTakenError: By the schedule: the slot was started already.

        """
        owner = await self._world.runs.channel(channel)
        slot = slot_of(self._world.clock()) if slot is None else check_slot(slot)
        attempt = await self._attempt(channel, slot, trigger)
        run = self._new_run(channel, owner.tenant, slot, attempt, trigger)
        await self._world.runs.insert(run)
        _log.info("run_started", run=run.id, trigger=trigger)
        out = self._shown(run)
        self._take(run, Lease(run.id, self._owner, run.fence))
        return out

    async def slot_taken(self, channel: str, slot: str) -> bool:
        """Whether the schedule has no business with the slot any more."""
        attempts = await self._world.runs.of_slot(channel, slot)
        return is_taken(attempts)

    async def resume(self) -> list[str]:
        """Take over the runs that nobody holds any more; returns their ids."""
        taken = []
        for run in await self._left():
            lease = await self._world.runs.take_over(run, self._owner, self._lease_end())
            if lease is None:
                continue
            if run.lost_owners + (run.owner not in (None, self._owner)) >= OWNERS_MAX:
                await self._give_up(RunContext(self._world, run, lease))
                continue
            _log.warning("run_resumed", run=run.id, step=run.step, fence=lease.fence)
            taken.append(run.id)
            self._take(run, lease)
        return taken

    async def _left(self) -> list[Run]:
        """The runs that nobody holds.

        One of our own that the database or the disk interrupted is left alone for a lease's length.
        """
        running = await self._world.runs.running()
        others = [run for run in running if run.id not in self._runners]
        left = {run.id for run in self._watch.left(others, self._world.clock())}
        alone = self._world.alone
        return [run for run in others if run.id in left or (alone and run.owner != self._owner)]

    async def _give_up(self, context: RunContext) -> None:
        """End a run that no process survived; its candidate is refused, with an event."""
        run = context.run
        _log.error("run_given_up", run=run.id, step=run.step)
        reason = f"{OWNERS_MAX} processes ended during the step {run.step}: see the server's log"
        try:
            await refuse_candidates(context, reason)
            await context.save(
                state="failed",
                reason=reason,
                finished_at=self._world.clock(),
                owner=None,
                lease_until=None,
            )
        except LeaseLostError:
            return
        self._world.observer.run_state(run.channel, "failed", None)

    async def cancel(self, run: str) -> RunOut:
        """Have the run stop, whoever owns it; a run that is rolling out is finished first."""
        await self._world.runs.request_cancel(run)
        if run in self._runners:
            runner, task = self._runners[run]
            runner.stop(Stop.CANCELLED)
            await asyncio.wait({task})
        return await self.run(run)

    async def wait(self, run: str) -> RunOut:
        """Wait for the end of a run of this process."""
        if run in self._runners:
            await asyncio.wait({self._runners[run][1]})
        return await self.run(run)

    async def run(self, run: str) -> RunOut:
        """One run. Raises `UnknownRunError`."""
        return self._shown(await self._world.runs.get(run))

    async def runs(self, channel: str) -> list[RunOut]:
        """A channel's runs, the newest first."""
        return [self._shown(run) for run in await self._world.runs.of_channel(channel)]

    def _shown(self, run: Run) -> RunOut:
        return RunOut.of(run, self._world.clock(), self._world.config.lease_seconds)

    async def answers(self, run: str) -> AsyncIterator[dict[str, Any]]:
        """What each arm answered to each question of the run's evaluation, and the scores."""
        found = await self._world.runs.get(run)
        for row in read_rows(self._world.folder / found.id):
            yield row.model_dump(mode="json")

    async def dry_run(self, channel: str) -> PlanOut:
        """What a run would train on now; writes nothing but a temporary folder."""
        world = self._world
        about = await about_now(world, f"{channel}-dry", channel)
        log = pair_log(world, about)
        with tempfile.TemporaryDirectory(prefix="pawl-") as folder:
            manifest = await freeze(Path(folder) / "snapshot", about, log, world.config)
        problems = await asyncio.to_thread(world.problems)
        too_few = why_too_few(manifest, world.config)
        return PlanOut(
            channel=channel,
            since=about.since,
            cut_off=about.cut_off,
            parent=about.parent,
            pairs=manifest.pairs,
            pairs_by_signal=manifest.pairs_by_signal,
            filters=manifest.left_out,
            minimum_pairs=world.config.minimum_pairs,
            held_out_prompts=manifest.questions,
            max_length=world.config.hyper.max_length,
            longest_left_out=manifest.longest,
            minimum_questions=world.config.gate.minimum,
            problems=[*map(str, problems), *([too_few] if too_few else [])],
            would_train=not problems and too_few is None,
        )

    async def export(
        self, channel: str, style: ExportFormat = "trl"
    ) -> AsyncIterator[dict[str, Any]]:
        """The pairs that a run would draw from, as TRL or OpenAI's preference format take them."""
        about = await about_now(self._world, f"{channel}-export", channel)
        log = pair_log(self._world, about)
        async for pairs, _ in log.pairs():
            for pair in pairs:
                row = exported(pair, style)
                if row is not None:
                    yield row

    async def _attempt(self, channel: str, slot: str, trigger: str) -> int:
        attempts = await self._world.runs.of_slot(channel, slot)
        return next_attempt(slot, attempts, scheduled=trigger == SCHEDULED)

    def _new_run(self, channel: str, tenant: str, slot: str, attempt: int, trigger: str) -> Run:
        return Run(
            id=run_id(channel, slot, attempt),
            channel=channel,
            tenant=tenant,
            slot=slot,
            attempt=attempt,
            trigger=trigger,
            state="running",
            step=next(iter(STEPS)),
            created_at=self._world.clock(),
            owner=self._owner,
            lease_until=self._lease_end(),
            fence=1,
            figures={},
        )

    def _lease_end(self) -> datetime:
        return self._world.clock() + timedelta(seconds=self._world.config.lease_seconds)

    def _take(self, run: Run, lease: Lease) -> None:
        """Run it as a task of this process."""
        context = RunContext(self._world, run, lease)
        context.folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        runner = Runner(context)
        task = asyncio.create_task(runner.run(), name=run.id)
        self._runners[run.id] = (runner, task)
        task.add_done_callback(lambda _: self._runners.pop(run.id, None))
