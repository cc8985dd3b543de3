"""One training run, from the job to the published adapter folder."""

import gc
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.integrations import TensorBoardCallback

from retrain.config import HyperParameters
from retrain.trainer.artifact import StageRecord, publish, save_adapter
from retrain.trainer.callbacks import StepEvents
from retrain.trainer.errors import TooFewPairsError
from retrain.trainer.events import (
    BatchHalved,
    Dropped,
    EventWriter,
    LeftOut,
    Reference,
    Saved,
    Started,
)
from retrain.trainer.examples.prepared import Prepared
from retrain.trainer.job import LEAST_BATCH, Job, TrainingStage
from retrain.trainer.libraries import versions
from retrain.trainer.memory import with_one_halving
from retrain.trainer.methods.reference import assert_reference
from retrain.trainer.records import stage_record, training_record
from retrain.trainer.stages import REFERENCED, Setup, build_trainer, read_stage


@dataclass(frozen=True, slots=True)
class ReadyStage:
    """A stage with its examples; `number` counts the stages that are trained, from 1."""

    number: int
    of: int
    stage: TrainingStage
    prepared: Prepared[Any]


def run(job: Job, events: EventWriter, scratch: Path) -> None:
    """Train the job's adapter and write it to `job.output`, which is not created on failure.

    Args:
        job: What to train.
        events: Where progress is reported.
        scratch: An empty folder on the same file system as `job.output`. The caller removes it.

    Raises:
        TrainerError: A known reason, see its subclasses.

    """
    started = time.monotonic()
    if job.hyper.threads:
        torch.set_num_threads(job.hyper.threads)
    setup = Setup.of(job, scratch)
    folder, records = job.warm_start, []
    for ready in read_stages(setup, events):
        records.append(_train_into(setup, ready, folder, events))
        folder = _folder(setup, ready)
        _free_memory()
    seconds = time.monotonic() - started
    assert folder is not None  # noqa: S101 - there is at least one stage
    digest = publish(folder, job.output, training_record(setup, records, seconds))
    events.write(Saved(folder=str(job.output), sha256=digest, seconds=seconds))


def read_stages(setup: Setup, events: EventWriter) -> list[ReadyStage]:
    """Read the rows of all stages before anything is trained.

    A stage with too few usable rows is left out where another one has enough. Raises
    `TooFewPairsError` with all reasons if none has.
    """
    read: list[tuple[TrainingStage, Prepared[Any]]] = []
    missing: list[tuple[TrainingStage, str]] = []
    for stage in setup.job.planned:
        try:
            read.append((stage, read_stage(setup, stage)))
        except TooFewPairsError as error:
            missing.append((stage, str(error)))
    if not read:
        raise TooFewPairsError("; ".join(reason for _, reason in missing))
    for stage, reason in missing:
        number = setup.job.planned.index(stage) + 1
        events.write(LeftOut(stage=number, method=stage.method, reason=reason))
    return [ReadyStage(at, len(read), *parts) for at, parts in enumerate(read, start=1)]


def _folder(setup: Setup, ready: ReadyStage) -> Path:
    return setup.scratch / f"stage-{ready.number}"


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _train_into(
    setup: Setup, ready: ReadyStage, warm_start: Path | None, events: EventWriter
) -> StageRecord:
    """Train one stage from the adapter in `warm_start`, and save its adapter."""
    stage = ready.stage
    _announce(setup, ready, warm_start, events)

    def attempt(hyper: HyperParameters) -> tuple[Any, StepEvents]:
        sized = stage.model_copy(update={"hyper": hyper})
        trainer = build_trainer(setup, sized, ready.prepared, warm_start)
        return trainer, train(setup, ready, trainer, warm_start, events)

    def on_halved(hyper: HyperParameters) -> None:
        events.write(
            BatchHalved(
                stage=ready.number,
                method=stage.method,
                per_device_batch=hyper.per_device_batch,
                gradient_accumulation=hyper.gradient_accumulation,
            )
        )

    least = LEAST_BATCH[stage.method]
    trainer, steps = with_one_halving(attempt, stage.hyper, on_halved, least)
    save_adapter(trainer.model, setup.job.base_model, _folder(setup, ready))
    return stage_record(stage, ready.prepared, trainer, steps.last)


def train(
    setup: Setup, ready: ReadyStage, trainer: Any, warm_start: Path | None, events: EventWriter
) -> StepEvents:
    """Check the reference, if the method has one, then train. Raises `TrainerError`."""
    method, warm = ready.stage.method, warm_start is not None
    largest = assert_reference(trainer, warm_start=warm) if method in REFERENCED else None
    lora = trainer.model.peft_config["default"]
    events.write(
        Reference(
            stage=ready.number,
            method=method,
            max_reward=largest,
            adapter="live" if warm else "base",
            lora_rank=lora.r,
            lora_alpha=lora.lora_alpha,
        )
    )
    steps = StepEvents(events, ready.number, method)
    trainer.add_callback(steps)
    if setup.job.tensorboard is not None:
        trainer.add_callback(_tensorboard(_curves(setup.job.tensorboard, ready)))
    trainer.train()
    return steps


def _curves(folder: Path, ready: ReadyStage) -> Path:
    """Return the folder of a stage's curves: one each where there are several."""
    return folder if ready.of == 1 else folder / f"{ready.number}-{ready.stage.method}"


def _tensorboard(folder: Path) -> TensorBoardCallback:
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - slow, and optional

    return TensorBoardCallback(tb_writer=SummaryWriter(log_dir=str(folder)))


def _announce(
    setup: Setup, ready: ReadyStage, warm_start: Path | None, events: EventWriter
) -> None:
    prepared, method = ready.prepared, ready.stage.method
    events.write(
        Started(
            stage=ready.number,
            method=method,
            stages=ready.of,
            versions=versions(),
            device=setup.device.name,
            precision=setup.device.precision,
            pairs=len(prepared.examples),
            signals=dict(prepared.signals),
            warm_start=warm_start is not None,
            hyper=ready.stage.hyper,
        )
    )
    if prepared.dropped:
        reasons = dict(prepared.dropped)
        events.write(Dropped(stage=ready.number, method=method, reasons=reasons))
