"""The trainer's view of a log: its batches and its model's log-probabilities."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from sqlmodel import select
from transformers import AutoModelForCausalLM

from feedback.models import Interaction
from retrain.config import PairsConfig, RetrainConfig
from retrain.dataset.snapshot import PAIRS, About, PairLog, freeze
from retrain.trainer.job import read_job
from retrain.trainer.methods.dpo import PairTrainer
from retrain.trainer.methods.shared import disable_dropout
from retrain.trainer.scratch import fresh_scratch
from retrain.trainer.stages import Setup, build_trainer, read_stage
from server.database.database import Database, sqlite_url

HYPER = {
    "per_device_batch": 8,
    "gradient_accumulation": 1,
    "max_length": 1024,
    "precision": "fp32",
    "threads": 1,
}
_EVERYBODY = PairsConfig(held_out_share=0, events_per_rater=1_000_000)


class PairIds(NamedTuple):
    """The token ids of a pair."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]


class PairLogprobs(NamedTuple):
    """The log-probability of each token of a pair's two answers."""

    chosen: list[float]
    rejected: list[float]


def write_adapter(folder: Path, *, model: Path, seed: int) -> None:
    """Write an adapter for any model into `folder`: LoRA on all linear layers, B random and small.

    B has a standard deviation of 0.02, which is about as far from the base as training gets.
    """
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    adapter = get_peft_model(base, config)
    for name, parameter in adapter.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    adapter.save_pretrained(str(folder))


@dataclass(frozen=True, slots=True)
class TrainerSide:
    """The trainer's pairs with its model's log-probabilities; `rows` counts repeated pairs too."""

    tokenizer: Any
    pairs: dict[PairIds, PairLogprobs]
    rows: int


def trainer_side(data_dir: Path, *, version: str, model: Path, adapter: Path) -> TrainerSide:
    """Freeze the log in `data_dir` and set up a run from it, up to its first step.

    `adapter` is the folder of the live `version`, from which the run starts warm.
    """
    folder = data_dir.parent / "run"
    asyncio.run(_freeze(data_dir, folder / "snapshot", version))
    job_path = folder / "job.json"
    job = {
        "base_model": str(model),
        "warm_start": str(adapter),
        "pairs": f"snapshot/{PAIRS}",
        "output": "adapter",
        "hyper": HYPER,
    }
    job_path.write_text(json.dumps(job))
    trainer, tokenizer = _trainer(job_path)
    pairs: dict[PairIds, PairLogprobs] = {}
    rows = 0
    for batch in trainer.get_train_dataloader():
        for ids, logprobs in _pairs_of(trainer, batch):
            pairs[ids] = logprobs
            rows += 1
    return TrainerSide(tokenizer, pairs, rows)


async def _freeze(data_dir: Path, folder: Path, version: str) -> None:
    now = datetime.now(UTC)
    config = RetrainConfig(pairs=_EVERYBODY)
    about = About(
        run="bench",
        channel="pawl",
        tenants=None,
        since=now - timedelta(days=1),
        asked_since=now - timedelta(days=1),
        cut_off=now,
        base_model="tiny",
        parent=version,
    )
    folder.parent.mkdir()
    database = Database(sqlite_url(data_dir / "pawl.db"))
    try:
        async with database.read() as session:
            sampled = select(Interaction.base_fingerprint).where(Interaction.version == version)
            base = (await session.exec(sampled)).first()
        await freeze(folder, about, PairLog(database, about, config, base or ""), config)
    finally:
        await database.close()


def _trainer(job_path: Path) -> tuple[PairTrainer, Any]:
    job = read_job(job_path)
    setup, stage = Setup.of(job, fresh_scratch(job.output)), job.planned[0]
    trainer = build_trainer(setup, stage, read_stage(setup, stage), job.warm_start)
    return trainer, setup.tokenizer


def _pairs_of(trainer: PairTrainer, batch: Any) -> list[tuple[PairIds, PairLogprobs]]:
    """Take a batch apart: the chosen answers are its first half, the rejected ones the second."""
    disable_dropout(trainer.model)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        logits = trainer.model(**inputs).logits.float()
    logprobs = torch.log_softmax(logits[:, :-1], dim=-1)
    sampled = logprobs.gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    rows = [
        _split(*row)
        for row in zip(
            batch["input_ids"].tolist(),
            batch["attention_mask"].tolist(),
            batch["completion_mask"].tolist(),
            sampled.tolist(),
            strict=True,
        )
    ]
    half = len(rows) // 2
    return [
        (PairIds(prompt, chosen, rejected), PairLogprobs(chosen_logprobs, rejected_logprobs))
        for (prompt, chosen, chosen_logprobs), (_, rejected, rejected_logprobs) in zip(
            rows[:half], rows[half:], strict=True
        )
    ]


def _split(
    ids: Sequence[int],
    attended: Sequence[int],
    completion: Sequence[int],
    logprobs: Sequence[float],
) -> tuple[tuple[int, ...], tuple[int, ...], list[float]]:
    """One row's prompt, its answer, and the answer's log-probabilities, without padding."""
    real = [place for place, seen in enumerate(attended) if seen]
    prompt = tuple(ids[place] for place in real if not completion[place])
    answer = [place for place in real if completion[place]]
    return prompt, tuple(ids[place] for place in answer), [logprobs[place - 1] for place in answer]
