"""Starting the trainer on a run's snapshot, and what it said.

Each owner of a run has its trainer write into a folder of its own, named by the fence, and puts the
result in its place while it holds the lease. A trainer that was left behind where nothing kills it
(a job on a cluster) writes where nobody looks any more.
"""

import asyncio
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

from adapters.vetting.peft_config import CONFIG_FILE
from adapters.vetting.spelled_out import LoraModule, spelled_out
from common.files import sync, write_whole
from retrain.config import HyperParameters
from retrain.dataset.snapshot import PAIRS
from retrain.errors import TooFewFitError, TrainingError
from retrain.ports import TrainerProcess
from retrain.run.context import ADAPTER, JOB, RunContext
from retrain.trainer import job as trainer_job
from retrain.trainer.errors import TooFewPairsError
from retrain.trainer.events import Dropped, Event, Failed, Saved, Step, parse_event
from retrain.trainer.job import Job
from retrain.trainer.scratch import scratch_for

EVENTS, TENSORBOARD, TRAINED = "events.jsonl", "tensorboard", "trained"
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
TRAINERS_MAX = 3
"""A trainer that somebody killed is started again, so many in a run; then memory is too short."""
CURVE_POINTS = 500
"""A longer training curve is thinned out to so many points."""

_log = structlog.get_logger()


async def train_adapter(context: RunContext) -> None:
    """Leave a whole adapter in the run's folder; one that is there already is taken.

    Raises `TooFewFitError` where too few pairs fit, else `TrainingError` with the trainer's reason.
    """
    # First of all: a trainer that was left behind may finish while we look.
    await context.world.launcher.kill_leftover(context.folder / JOB)
    if not (context.folder / ADAPTER).is_dir():
        await _train(context)
    await context.note(**training_figures(list(_kept_events(context.folder))))


async def _train(context: RunContext) -> None:
    path = context.folder / JOB
    live = await _live_folder(context)
    job = _job(context, live, await asyncio.to_thread(_named_modules, live))
    write_whole(path, job.model_dump_json(indent=2).encode())
    await context.note(hyper=job.hyper.model_dump(mode="json"))
    failure, code = await _run(context, path)
    while code in KILLED and context.run.figures.get("trainers_killed", 0) < TRAINERS_MAX - 1:
        await context.note(trainers_killed=context.run.figures.get("trainers_killed", 0) + 1)
        _log.warning("trainer_starts_again", run=context.run.id)
        failure, code = await _run(context, path)
    if failure is not None and failure.reason == TooFewPairsError.__name__:
        raise TooFewFitError(failure.message)
    if failure is not None:
        raise TrainingError(f"{failure.reason}: {failure.message}")
    if code in KILLED:
        raise TrainingError("the trainer was killed each time: look for what ran out of memory")
    if code != 0:
        raise TrainingError(f"the trainer ended with code {code}: see trainer.log of the run")
    if not job.output.is_dir():
        raise TrainingError("the trainer left no adapter: see trainer.log of the run")
    await context.save(step=context.run.step)  # whoever lost the lease puts nothing in its place
    await asyncio.to_thread(_put_in_place, job.output, context.folder / ADAPTER)


async def _run(context: RunContext, job_path: Path) -> tuple[Failed | None, int]:
    """Let one trainer run to its end: what it says failed, and its exit code."""
    await asyncio.to_thread(_clear, context.folder)
    process = await context.world.launcher.launch(job_path)
    try:
        failure = await _listen(process, context.folder)
        return failure, await process.wait()
    finally:
        await process.terminate()


def _clear(folder: Path) -> None:
    """Remove what earlier owners' trainers have left; one that still runs ends by that."""
    (folder / EVENTS).unlink(missing_ok=True)
    for output in folder.glob(f"{TRAINED}-*"):
        shutil.rmtree(output, ignore_errors=True)
    for scratch in folder.glob(scratch_for(folder / f"{TRAINED}-*").name):
        shutil.rmtree(scratch, ignore_errors=True)


def _put_in_place(output: Path, adapter: Path) -> None:
    output.rename(adapter)
    sync(adapter.parent)


async def _live_folder(context: RunContext) -> Path | None:
    """The adapter to start from; None where live is the base model."""
    world, parent = context.world, context.run.parent
    if parent is None:
        return None
    version = await world.registry.version(parent)
    return (await asyncio.to_thread(world.adapter_path, version)).absolute()


def _named_modules(live: Path | None) -> Mapping[str, LoraModule] | None:
    """The live adapter's modules, where its config names them by expressions.

    Of files that are not there the trainer says what is missing.
    """
    if live is None or not (live / CONFIG_FILE).is_file():
        return None
    return spelled_out(live)


def _job(
    context: RunContext,
    warm_start: Path | None,
    modules: Mapping[str, LoraModule] | None,
) -> Job:
    world = context.world
    tensorboard = context.folder / TENSORBOARD if world.config.trainer.tensorboard else None
    return Job(
        base_model=world.base.name,
        warm_start=warm_start,
        warm_start_modules=modules
        and {
            name: trainer_job.AdaptedModule(rank=one.rank, alpha=one.alpha)
            for name, one in modules.items()
        },
        pairs=(context.snapshot / PAIRS).absolute(),
        minimum_pairs=world.config.minimum_pairs,
        output=(context.folder / f"{TRAINED}-{context.lease.fence}").absolute(),
        tensorboard=tensorboard and tensorboard.absolute(),
        chat_template=world.chat_template,
        served_modules=frozenset(world.base.modules) or None,
        seed=world.config.seed,
        parent_pid=world.launcher.parent_pid,
        hyper=_hyper(context, fresh=warm_start is None),
    )


def _hyper(context: RunContext, *, fresh: bool) -> HyperParameters:
    config = context.world.config
    first = config.trainer.learning_rate_first
    if not fresh or first is None:
        return config.hyper
    return config.hyper.model_copy(update={"learning_rate": first})


async def _listen(process: TrainerProcess, folder: Path) -> Failed | None:
    """Keep the events; returns the failure, if it told of one."""
    failure = None
    with (folder / EVENTS).open("ab") as kept:
        async for event in process.events():
            kept.write(event.model_dump_json().encode() + b"\n")
            kept.flush()
            if isinstance(event, Failed):
                failure = event
    return failure


def _kept_events(folder: Path) -> Iterator[Event]:
    """What was kept; a line that was torn as the machine went down is passed over."""
    with (folder / EVENTS).open("rb") as lines:
        for line in lines:
            with suppress(ValidationError):
                yield parse_event(line)


def training_figures(events: Sequence[Event]) -> dict[str, Any]:
    """Seconds, the curve, and what the trainer dropped."""
    steps = [event for event in events if isinstance(event, Step)]
    seconds = [event.seconds for event in events if isinstance(event, Saved)]
    dropped = [event.reasons for event in events if isinstance(event, Dropped)]
    return {
        "train_seconds": seconds[-1] if seconds else None,
        "dropped_by_trainer": dropped[-1] if dropped else {},
        "steps": steps[-1].of if steps else 0,
        "curve": [_point(step) for step in _thinned(steps)],
    }


def _point(step: Step) -> dict[str, float]:
    return step.model_dump(include={"step", "loss", "reward_margin", "reward_accuracy"})


def _thinned(steps: Sequence[Step]) -> Sequence[Step]:
    """Every n-th step, and the last."""
    stride = -(-len(steps) // CURVE_POINTS) or 1
    return [*steps[:-1:stride], *steps[-1:]]
