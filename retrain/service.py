"""The service for weekly runs: start, resume, cancel, show, dry-run and export."""

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
from retrain.counterparts.questions import most_questions
from retrain.dataset.export import ExportFormat, exported_rows
from retrain.dataset.snapshot import NEXT_MESSAGES, freeze, plan_of
from retrain.enough import count_fresh
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
from retrain.schemas import PlanOut, RunOut
from retrain.slots import MANUAL, check_slot, is_taken, next_attempt, run_id, slot_of

OWNERS_MAX = 5
"""Owners that a run may lose by crashes. After that the run presumably causes them, and fails."""

_log = structlog.get_logger()


class RunService:
    """Manages runs. Those that this process owns are executed as asyncio tasks."""

    def __init__(self, environment: RunEnvironment) -> None:
        self._environment = environment
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._watch = Watch(environment.monotonic, environment.config.lease_seconds)
        self._runners: dict[str, tuple[Runner, asyncio.Task[None]]] = {}

    @property
    def rollouts(self) -> RolloutService:
        """The service for rollouts of versions that passed the offline gate."""
        return self._environment.rollouts

    async def start(self) -> None:
        """Report each channel's last success to the observer, and resume interrupted runs."""
        for channel in await self._environment.runs.channels():
            for run in await self._environment.runs.of_channel(channel.name):
                if run.state in SUCCEEDED and run.finished_at is not None:
                    self._environment.observer.run_succeeded(channel.name, run.finished_at)
                    break
        await self.resume()

    async def close(self) -> None:
        """Stop this process's runs; the next process resumes them."""
        for runner, _ in list(self._runners.values()):
            runner.stop(Stop.CLOSING)
        await asyncio.gather(*(task for _, task in list(self._runners.values())))

    async def start_run(
        self,
        channel: str,
        slot: str | None = None,
        trigger: str = MANUAL,
        known: int | None = None,
    ) -> RunOut:
        """Start a run as a task, and return.

        Args:
            channel: The channel whose adapter is trained.
            slot: An ISO week such as `2026-w47`; None: the current week.
            trigger: `schedule` (the slot's only scheduled run), `evidence` or `manual` (another
                attempt).
            known: The number of the channel's runs on which the start was decided, if any.

        Raises:
            UnknownChannelError: There is no such channel.
            InvalidSlotError: The slot is not an ISO week.
            RunInProgressError: The channel has a run that has not ended.
            SlotFinishedError: Manual, and the slot has its only verdict.
            SlotTakenError: Scheduled, and the slot was started or has a verdict; or another run was
                started since `known`.

        """
        owner = await self._environment.runs.channel(channel)
        slot = slot_of(self._environment.clock()) if slot is None else check_slot(slot)
        attempt = await self._attempt(channel, slot, trigger)
        run = self._new_run(channel, owner.tenant, slot, attempt, trigger)
        await self._environment.runs.insert(run, known)
        _log.info("run_started", run=run.id, trigger=trigger)
        out = self._shown(run)
        self._execute(run, Lease(run.id, self._owner, run.fence))
        return out

    async def slot_taken(self, channel: str, slot: str) -> bool:
        """Return whether the scheduler must not start the slot: it was started or has a verdict."""
        attempts = await self._environment.runs.of_slot(channel, slot)
        return is_taken(attempts, several=self._several)

    async def fresh_votes(self, channel: str) -> int:
        """Return how many judgements could train that came after the channel's last snapshot.

        They are counted and not looked at: what they say must not decide when a run starts.
        """
        environment, now = self._environment, self._environment.clock()
        return await count_fresh(
            environment.database,
            await environment.runs.channel(channel),
            (await environment.runs.starts(channel, now)).cut_off,
            now,
            environment.config,
            environment.base.fingerprint,
            environment.metrics,
        )

    async def resume(self) -> list[str]:
        """Take over runs whose owner is dead or has released them; return their ids."""
        taken = []
        for run in await self._ownerless():
            lease = await self._environment.runs.take_over(run, self._owner, self._lease_end())
            if lease is None:
                continue
            if run.lost_owners + (run.owner not in (None, self._owner)) >= OWNERS_MAX:
                await self._give_up(RunContext(self._environment, run, lease))
                continue
            _log.warning("run_resumed", run=run.id, step=run.step, fence=lease.fence)
            taken.append(run.id)
            self._execute(run, lease)
        return taken

    async def _ownerless(self) -> list[Run]:
        """Return the runs without an owner.

        A run of this process that a failure of the database or the disk interrupted is resumed
        after the length of a lease.
        """
        running = await self._environment.runs.running()
        others = [run for run in running if run.id not in self._runners]
        ownerless = {run.id for run in self._watch.ownerless(others, self._environment.clock())}
        alone = self._environment.alone
        return [
            run for run in others if run.id in ownerless or (alone and run.owner != self._owner)
        ]

    async def _give_up(self, context: RunContext) -> None:
        """End a run that lost too many owners as `failed`, and reject its candidates."""
        run = context.run
        _log.error("run_given_up", run=run.id, step=run.step)
        reason = f"{OWNERS_MAX} processes ended during the step {run.step}: see the server's log"
        try:
            await refuse_candidates(context, reason)
            await context.save(
                state="failed",
                reason=reason,
                finished_at=self._environment.clock(),
                owner=None,
                lease_until=None,
            )
        except LeaseLostError:
            return
        self._environment.observer.run_state(run.channel, "failed", None)

    async def cancel(self, run: str) -> RunOut:
        """Cancel a run, whichever process owns it. The step `roll out` is completed first."""
        await self._environment.runs.request_cancel(run)
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
        """Return one run. Raises `UnknownRunError`."""
        return self._shown(await self._environment.runs.get(run))

    async def runs(self, channel: str) -> list[RunOut]:
        """Return a channel's runs, newest first."""
        return [self._shown(run) for run in await self._environment.runs.of_channel(channel)]

    def _shown(self, run: Run) -> RunOut:
        return RunOut.of(run, self._environment.clock(), self._environment.config.lease_seconds)

    async def answers(self, run: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the answers and scores of each question of the run's evaluation."""
        found = await self._environment.runs.get(run)
        for row in read_rows(self._environment.folder / found.id):
            yield row.model_dump(mode="json")

    async def dry_run(self, channel: str, *, read_messages: bool = False) -> PlanOut:
        """Return what a run would train on now; writes only to a temporary folder.

        With `read_messages`, users' next messages are read as in a run, else only counted.
        """
        environment = self._environment
        about = await about_now(environment, f"{channel}-dry", channel)
        with tempfile.TemporaryDirectory(prefix="pawl-") as folder:
            kept = Path(folder) / NEXT_MESSAGES if read_messages else None
            log = pair_log(environment, about, kept)
            manifest = await freeze(Path(folder) / "snapshot", about, log, environment.config)
        problems = await asyncio.to_thread(environment.problems)
        judged = environment.finds_counterparts
        plan = plan_of(manifest, environment.config, judged=judged)
        labels = manifest.labels_up + manifest.labels_down
        asked = most_questions(labels, manifest.pairs, environment.config, judged=judged)
        return PlanOut(
            channel=channel,
            since=about.since,
            cut_off=about.cut_off,
            parent=about.parent,
            pairs=manifest.pairs,
            pairs_by_signal=manifest.pairs_by_signal,
            filters=manifest.left_out,
            signals=manifest.signals,
            minimum_pairs=environment.config.minimum_pairs,
            held_out_prompts=manifest.questions,
            max_length=environment.config.hyper.max_length,
            longest_left_out=manifest.longest,
            minimum_questions=environment.config.gate.minimum,
            problems=[*map(str, problems), *([plan.why_not] if plan.why_not else [])],
            would_train=not problems and plan.why_not is None,
            methods=[stage.method for stage in plan.stages],
            reasons=list(plan.reasons),
            interactions=manifest.interactions,
            judgements=manifest.judgements,
            labels=manifest.labels,
            labels_up=manifest.labels_up,
            labels_down=manifest.labels_down,
            labels_by_signal=manifest.labels_by_signal,
            held_out_pairs=manifest.held_out_pairs,
            held_out_labels=manifest.held_out_labels,
            pairs_mix=manifest.pairs_mix,
            labels_mix=manifest.labels_mix,
            counterpart_questions=asked.questions,
            counterpart_answers=asked.answers,
            counterpart_seconds=environment.config.counterparts.seconds if asked.questions else 0,
            fresh_votes=await self.fresh_votes(channel),
            votes_needed=environment.config.enough.votes if self._several else None,
        )

    async def export(
        self, channel: str, style: ExportFormat = "trl"
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the pairs, or the labels (`kto`), that a run would sample from."""
        about = await about_now(self._environment, f"{channel}-export", channel)
        log = pair_log(self._environment, about)
        async for result in log.explicit():
            for row in exported_rows(result, style):
                yield row

    async def _attempt(self, channel: str, slot: str, trigger: str) -> int:
        attempts = await self._environment.runs.of_slot(channel, slot)
        return next_attempt(slot, attempts, trigger, several=self._several)

    @property
    def _several(self) -> bool:
        """Whether a week may have several verdicts."""
        return self._environment.config.when == "enough"

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
            created_at=self._environment.clock(),
            owner=self._owner,
            lease_until=self._lease_end(),
            fence=1,
            figures={},
        )

    def _lease_end(self) -> datetime:
        return self._environment.clock() + timedelta(seconds=self._environment.config.lease_seconds)

    def _execute(self, run: Run, lease: Lease) -> None:
        """Execute the run as a task of this process."""
        context = RunContext(self._environment, run, lease)
        context.folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        runner = Runner(context)
        task = asyncio.create_task(runner.run(), name=run.id)
        self._runners[run.id] = (runner, task)
        task.add_done_callback(lambda _: self._runners.pop(run.id, None))
