"""Run the trainer on a run's training set, and store its events and its adapter.

The trainer of each owner writes to a folder named after the owner's fence. The owner moves the
result to its final place while it holds the lease. So a trainer that outlives its owner, such as a
job on a cluster, does no harm.
"""

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from adapters.vetting.peft_config import CONFIG_FILE
from adapters.vetting.spelled_out import LoraModule, spelled_out
from common.files import sync, write_whole
from retrain.dataset.plan import Plan
from retrain.dataset.training_set.files import TrainingManifest
from retrain.errors import TooFewFitError, TrainingError
from retrain.launchers.processes import EVENTS, run_trainer, stored_events
from retrain.run.context import ADAPTER, JOB, TRAINING, RunContext
from retrain.run.frozen_training import training_set
from retrain.run.training_stages import training_stages
from retrain.trainer import job as trainer_job
from retrain.trainer.errors import TooFewPairsError
from retrain.trainer.events import Dropped, Event, Failed, LeftOut, Saved, Step
from retrain.trainer.job import Job, TrainingStage
from retrain.trainer.scratch import scratch_for

TENSORBOARD, TRAINED = "tensorboard", "trained"
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
TRAINERS_MAX = 3
"""Trainers started per run, at most. A trainer that is killed (SIGKILL) is started again, since
another process may have used up the memory."""
CURVE_POINTS = 500
"""Points of the training curve that are stored, at most."""

_log = structlog.get_logger()


async def train_adapter(context: RunContext) -> None:
    """Train an adapter into the run's folder, unless there is one already.

    Raises `TooFewFitError` if there is too little to train on, or `TrainingError` with the
    trainer's reason.
    """
    # Before checking for an adapter, which a leftover trainer could still finish.
    await context.environment.launcher.kill_leftover(context.folder / JOB)
    if not (context.folder / ADAPTER).is_dir():
        await _train(context)
    await context.save_figures(**training_figures(list(stored_events(context.folder))))


async def _train(context: RunContext) -> None:
    path = context.folder / JOB
    manifest = await _set(context)
    live = await _live_folder(context)
    job = _job(context, manifest.plan, live, await asyncio.to_thread(_named_modules, live))
    write_whole(path, job.model_dump_json(indent=2).encode())
    await context.save_figures(
        hyper=job.stages[-1].hyper.model_dump(mode="json"), stages=stage_figures(job.stages)
    )
    failure, code = await _run(context, path)
    while code in KILLED and context.run.figures.get("trainers_killed", 0) < TRAINERS_MAX - 1:
        await context.save_figures(
            trainers_killed=context.run.figures.get("trainers_killed", 0) + 1
        )
        _log.warning("trainer_starts_again", run=context.run.id)
        failure, code = await _run(context, path)
    if failure is not None and failure.reason == TooFewPairsError.__name__:
        raise TooFewFitError(failure.message)
    if failure is not None:
        raise TrainingError(f"{failure.reason}: {failure.message}")
    if code in KILLED:
        raise TrainingError("the trainer was killed each time: check what ran out of memory")
    if code != 0:
        raise TrainingError(f"the trainer ended with code {code}: see trainer.log of the run")
    if not job.output.is_dir():
        raise TrainingError("the trainer wrote no adapter: see trainer.log of the run")
    await context.save(step=context.run.step)  # raises if the lease is lost
    await asyncio.to_thread(_put_in_place, job.output, context.folder / ADAPTER)


async def _set(context: RunContext) -> TrainingManifest:
    """Freeze the training set and store its figures. Raises `TooFewFitError`."""
    manifest = await training_set(context)
    figures = manifest.model_dump(mode="json", exclude={"plan", "files", "base_fingerprint"})
    await context.save_figures(training=figures, plan=manifest.plan.model_dump(mode="json"))
    if manifest.plan.why_not is not None:
        raise TooFewFitError(manifest.plan.why_not)
    return manifest


async def _run(context: RunContext, job_path: Path) -> tuple[Failed | None, int]:
    """Run one trainer to its end; return its failure, if it reported one, and its exit code."""
    await asyncio.to_thread(_clear, context.folder)
    return await run_trainer(context.environment.launcher, job_path)


def _clear(folder: Path) -> None:
    """Remove the output of earlier owners' trainers; one that still runs will fail."""
    (folder / EVENTS).unlink(missing_ok=True)
    for output in folder.glob(f"{TRAINED}-*"):
        shutil.rmtree(output, ignore_errors=True)
    for scratch in folder.glob(scratch_for(folder / f"{TRAINED}-*").name):
        shutil.rmtree(scratch, ignore_errors=True)


def _put_in_place(output: Path, adapter: Path) -> None:
    output.rename(adapter)
    sync(adapter.parent)


async def _live_folder(context: RunContext) -> Path | None:
    """Return the folder of the adapter to start from; None if live is the base model."""
    environment, parent = context.environment, context.run.parent
    if parent is None:
        return None
    version = await environment.registry.version(parent)
    return (await asyncio.to_thread(environment.adapter_path, version)).absolute()


def _named_modules(live: Path | None) -> Mapping[str, LoraModule] | None:
    """Return the live adapter's modules if its config has regular expressions, else None.

    The trainer reports missing files.
    """
    if live is None or not (live / CONFIG_FILE).is_file():
        return None
    return spelled_out(live)


def _job(
    context: RunContext,
    plan: Plan,
    warm_start: Path | None,
    modules: Mapping[str, LoraModule] | None,
) -> Job:
    environment = context.environment
    tensorboard = context.folder / TENSORBOARD if environment.config.trainer.tensorboard else None
    return Job(
        base_model=environment.base.name,
        warm_start=warm_start,
        warm_start_modules=modules
        and {
            name: trainer_job.AdaptedModule(rank=one.rank, alpha=one.alpha)
            for name, one in modules.items()
        },
        stages=training_stages(
            plan, context.folder / TRAINING, environment.config, fresh=warm_start is None
        ),
        output=(context.folder / f"{TRAINED}-{context.lease.fence}").absolute(),
        tensorboard=tensorboard and tensorboard.absolute(),
        chat_template=environment.chat_template,
        served_modules=frozenset(environment.base.modules) or None,
        seed=environment.config.seed,
        parent_pid=environment.launcher.parent_pid,
        hyper=environment.config.hyper,
    )


def stage_figures(stages: Sequence[TrainingStage]) -> list[dict[str, Any]]:
    """Return the method of each stage, and the values in which the methods differ."""
    names = {"learning_rate", "epochs", "beta"}
    return [{"method": stage.method, **stage.hyper.model_dump(include=names)} for stage in stages]


def training_figures(events: Sequence[Event]) -> dict[str, Any]:
    """Return the duration in seconds, the training curve, and the rows that were dropped.

    Steps and dropped rows are sums over the stages.
    """
    steps = [event for event in events if isinstance(event, Step)]
    seconds = [event.seconds for event in events if isinstance(event, Saved)]
    dropped: Counter[str] = Counter()
    for event in events:
        if isinstance(event, Dropped):
            dropped.update(event.reasons)
    left_out = [event.reason for event in events if isinstance(event, LeftOut)]
    return {
        "train_seconds": seconds[-1] if seconds else None,
        "dropped_by_trainer": dict(dropped),
        "stages_left_out": left_out,
        "steps": sum({step.stage: step.of for step in steps}.values()),
        "curve": [_point(step) for step in _thinned(steps)],
    }


def _point(step: Step) -> dict[str, Any]:
    """Return a step's figures; those that its method does not have are left out."""
    unused = {"time", "event", "of", "learning_rate", "grad_norm", "tokens"}
    return step.model_dump(exclude=unused, exclude_none=True)


def _thinned(steps: Sequence[Step]) -> Sequence[Step]:
    """Return every n-th step, and the last."""
    stride = -(-len(steps) // CURVE_POINTS) or 1
    return [*steps[:-1:stride], *steps[-1:]]
