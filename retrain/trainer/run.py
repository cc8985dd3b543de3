"""One training run, from the job to the published adapter folder."""

import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, set_seed
from transformers.integrations import TensorBoardCallback

from retrain.config import HyperParameters
from retrain.trainer.artifact import TrainingRecord, publish, save_adapter
from retrain.trainer.callbacks import StepEvents
from retrain.trainer.events import BatchHalved, Dropped, EventWriter, Reference, Saved, Started
from retrain.trainer.examples.data import Prepared, prepare
from retrain.trainer.examples.row_rendering import renderer
from retrain.trainer.job import Job
from retrain.trainer.libraries import versions
from retrain.trainer.memory import with_one_halving
from retrain.trainer.methods.dpo import PairCollator, PairTrainer, dpo_config
from retrain.trainer.methods.reference import assert_reference, restore_precision
from retrain.trainer.model import (
    Device,
    fresh_lora,
    load_policy,
    load_tokenizer,
    pick_device,
    vocabulary_size,
)


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
    device = pick_device(job.hyper)
    tokenizer = load_tokenizer(job.base_model, job.chat_template)
    prepared = read_job_pairs(job, tokenizer)
    _announce(job, device, prepared, events)

    def attempt(hyper: HyperParameters) -> tuple[Any, StepEvents]:
        sized = job.model_copy(update={"hyper": hyper})
        trainer = build_trainer(sized, device, tokenizer, prepared, scratch)
        return trainer, train(sized, trainer, events)

    def on_halved(hyper: HyperParameters) -> None:
        events.write(
            BatchHalved(
                per_device_batch=hyper.per_device_batch,
                gradient_accumulation=hyper.gradient_accumulation,
            )
        )

    trainer, steps = with_one_halving(attempt, job.hyper, on_halved)
    save_adapter(trainer.model, job.base_model, scratch / "adapter")
    seconds = time.monotonic() - started
    record = _record(job, device, prepared, trainer, steps, seconds)
    digest = publish(scratch / "adapter", job.output, record)
    events.write(Saved(folder=str(job.output), sha256=digest, seconds=seconds))


def read_job_pairs(job: Job, tokenizer: Any) -> Prepared:
    """Read the job's pairs as token ids. Raises `JobError`."""
    return prepare(
        job.pairs,
        renderer(tokenizer, job.base_model),
        max_length=job.hyper.max_length,
        vocabulary=vocabulary_size(job.base_model),
        minimum=job.minimum_pairs,
    )


def build_trainer(
    job: Job, device: Device, tokenizer: Any, prepared: Prepared, scratch: Path
) -> PairTrainer:
    """Load the policy and build the trainer; the adapter is in fp32, like the reference."""
    set_seed(job.seed)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    policy = load_policy(job, device)
    trainer = PairTrainer(
        model=policy,
        args=dpo_config(job, scratch / "trl", cuda=device.cuda, bf16=device.bf16),
        data_collator=PairCollator(pad_token_id=tokenizer.pad_token_id),
        train_dataset=Dataset.from_list(prepared.examples),
        processing_class=tokenizer,
        peft_config=fresh_lora(job, policy) if job.warm_start is None else None,
    )
    restore_precision(trainer.model)
    trainer.remove_callback(PrinterCallback)
    return trainer


def train(job: Job, trainer: PairTrainer, events: EventWriter) -> StepEvents:
    """Check the reference, then train. Raises `TrainerError`."""
    warm = job.warm_start is not None
    largest = assert_reference(trainer, warm_start=warm)
    lora = trainer.model.peft_config["default"]
    events.write(
        Reference(
            max_reward=largest,
            adapter="live" if warm else "base",
            lora_rank=lora.r,
            lora_alpha=lora.lora_alpha,
        )
    )
    steps = StepEvents(events)
    trainer.add_callback(steps)
    if job.tensorboard is not None:
        trainer.add_callback(_tensorboard(job.tensorboard))
    trainer.train()
    return steps


def _tensorboard(folder: Path) -> TensorBoardCallback:
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - slow, and optional

    return TensorBoardCallback(tb_writer=SummaryWriter(log_dir=str(folder)))


def _announce(job: Job, device: Device, prepared: Prepared, events: EventWriter) -> None:
    events.write(
        Started(
            versions=versions(),
            device=device.name,
            precision="bf16" if device.bf16 else "fp32",
            pairs=len(prepared.examples),
            signals=dict(prepared.signals),
            warm_start=job.warm_start is not None,
            hyper=job.hyper,
        )
    )
    if prepared.dropped:
        events.write(Dropped(reasons=dict(prepared.dropped)))


def _record(
    job: Job,
    device: Device,
    prepared: Prepared,
    trainer: PairTrainer,
    steps: StepEvents,
    seconds: float,
) -> TrainingRecord:
    sizes = {
        "per_device_batch": trainer.args.per_device_train_batch_size,
        "gradient_accumulation": trainer.args.gradient_accumulation_steps,
    }
    return TrainingRecord(
        base_model=job.base_model,
        warm_start=job.warm_start is not None,
        seed=job.seed,
        hyper=job.hyper.model_copy(update=sizes),
        pairs=len(prepared.examples),
        signals=dict(prepared.signals),
        dropped=dict(prepared.dropped),
        steps=trainer.state.global_step,
        last=steps.last,
        versions=versions(),
        device=device.name,
        seconds=seconds,
    )
