"""What `training.json` says of a run: which methods, on how much, with which values."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from retrain.trainer.artifact import StageRecord, TrainingRecord
from retrain.trainer.events import Step
from retrain.trainer.examples.prepared import Prepared
from retrain.trainer.job import TrainingStage
from retrain.trainer.libraries import versions
from retrain.trainer.stages import Setup


def stage_record(
    stage: TrainingStage, prepared: Prepared[Any], trainer: Any, last: Step | None
) -> StageRecord:
    """Return how a stage was trained; `last` is its last step."""
    sizes = {
        "per_device_batch": trainer.args.per_device_train_batch_size,
        "gradient_accumulation": trainer.args.gradient_accumulation_steps,
    }
    weights = None
    if stage.method == "kto":
        weights = (trainer.desirable_weight, trainer.undesirable_weight)
    return StageRecord(
        method=stage.method,
        rows=len(prepared.examples),
        signals=dict(prepared.signals),
        dropped=dict(prepared.dropped),
        steps=trainer.state.global_step,
        last=last,
        class_weights=weights,
        hyper=stage.hyper.model_copy(update=sizes),
    )


def training_record(setup: Setup, stages: Sequence[StageRecord], seconds: float) -> TrainingRecord:
    """Return how the adapter was trained, stage by stage, in `seconds`."""
    return TrainingRecord(
        base_model=setup.job.base_model,
        warm_start=setup.job.warm_start is not None,
        seed=setup.job.seed,
        hyper=stages[-1].hyper,
        pairs=sum(stage.rows for stage in stages),
        signals=_sum(stage.signals for stage in stages),
        dropped=_sum(stage.dropped for stage in stages),
        steps=sum(stage.steps for stage in stages),
        last=stages[-1].last,
        stages=list(stages),
        versions=versions(),
        device=setup.device.name,
        seconds=seconds,
    )


def _sum(counts: Iterator[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)
