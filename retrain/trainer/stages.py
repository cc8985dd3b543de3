"""One stage of a training: read its rows, build its method's trainer, check it, train."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from transformers import PrinterCallback, set_seed

from retrain.config import Method
from retrain.trainer.examples.data import prepare
from retrain.trainer.examples.demonstrations import prepare_demonstrations
from retrain.trainer.examples.labels import prepare_labels
from retrain.trainer.examples.prepared import Bounds, Prepared
from retrain.trainer.examples.row_rendering import renderer
from retrain.trainer.job import Job, TrainingStage
from retrain.trainer.methods.dpo import dpo_trainer
from retrain.trainer.methods.kto import kto_trainer
from retrain.trainer.methods.orpo import orpo_trainer
from retrain.trainer.methods.reference import adapter_weights, restore_precision
from retrain.trainer.methods.sft import sft_trainer
from retrain.trainer.methods.shared import TrainerParts
from retrain.trainer.model import (
    Device,
    fresh_lora,
    load_policy,
    load_tokenizer,
    pick_device,
    vocabulary_size,
)

REFERENCED: frozenset[Method] = frozenset({"dpo", "kto"})
"""The methods with a reference, which is asserted before the first step."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What all stages of a run share.

    Attributes:
        job: The run's job.
        device: Device and precision.
        tokenizer: The base model's, with the server's chat template.
        scratch: Scratch space.

    """

    job: Job
    device: Device
    tokenizer: Any
    scratch: Path

    @classmethod
    def of(cls, job: Job, scratch: Path) -> Self:
        """Choose the device and load the tokenizer, with a padding token. Raises `JobError`."""
        tokenizer = load_tokenizer(job.base_model, job.chat_template)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        return cls(job, pick_device(job.hyper), tokenizer, scratch)


def read_stage(setup: Setup, stage: TrainingStage) -> Prepared[Any]:
    """Read a stage's rows as token ids.

    Raises:
        JobError: A file is malformed.
        TooFewPairsError: Fewer rows than the stage's minimum can be trained on.

    """
    base_model = setup.job.base_model
    render = renderer(setup.tokenizer, base_model)
    bounds = Bounds(stage.hyper.max_length, vocabulary_size(base_model), stage.minimum)
    if stage.method == "kto":
        return prepare_labels(stage.file, stage.pairs, render, bounds)
    if stage.method == "sft":
        return prepare_demonstrations(stage.file, stage.signals, render, bounds)
    return prepare(stage.file, render, bounds)


def build_trainer(
    setup: Setup, stage: TrainingStage, prepared: Prepared[Any], warm_start: Path | None
) -> Any:
    """Load the policy and build the stage's trainer; the adapter is in fp32, like a reference.

    Args:
        setup: What all stages share.
        stage: The stage.
        prepared: Its examples.
        warm_start: Folder of the adapter to start from; None: a new adapter.

    Raises:
        JobError: The model or the adapter cannot be loaded, or the rows do not suit the method.

    """
    set_seed(setup.job.seed)
    job = setup.job.model_copy(update={"hyper": stage.hyper, "warm_start": warm_start})
    policy = load_policy(job, setup.device)
    initial = {} if warm_start is None else adapter_weights(policy)
    parts = TrainerParts(
        policy=policy,
        lora=fresh_lora(job, policy) if warm_start is None else None,
        tokenizer=setup.tokenizer,
        examples=prepared.examples,
        hyper=stage.hyper,
        seed=job.seed,
        folder=setup.scratch / "trl",
        cuda=setup.device.cuda,
        bf16=setup.device.bf16,
    )
    trainer = _TRAINERS[stage.method](parts, stage)
    restore_precision(trainer.model, initial)
    trainer.remove_callback(PrinterCallback)
    return trainer


_TRAINERS: dict[Method, Callable[[TrainerParts, TrainingStage], Any]] = {
    "dpo": lambda parts, _: dpo_trainer(parts),
    "kto": kto_trainer,
    "orpo": lambda parts, _: orpo_trainer(parts),
    "sft": lambda parts, _: sft_trainer(parts),
}
