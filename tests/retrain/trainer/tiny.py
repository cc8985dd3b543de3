"""A tiny Llama with a chat tokenizer, made in a second, and jobs that train it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from retrain.trainer.events import Event, EventWriter, parse_event
from retrain.trainer.job import read_job
from retrain.trainer.scratch import fresh_scratch
from tests.lazy_modules import lazy

torch = lazy("torch")
transformers = lazy("transformers")
trainer_run = lazy("retrain.trainer.run")
trainer_stages = lazy("retrain.trainer.stages")

E = TypeVar("E", bound=Event)

BETWEEN_TURNS = (
    "{% for m in messages %}{% if not loop.first %}{{ '\\n' }}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n' }}<|im_start|>assistant\n{% endif %}"
)
NEWLINE_AFTER_TURN = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>{{ '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = "how much is the oak bench user assistant system It costs dollars Ugh read the website . ? "


def make_tokenizer(template: str = BETWEEN_TURNS) -> Any:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([WORDS] * 4, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<|pad|>", eos_token="<|im_end|>"
    )
    tokenizer.chat_template = template
    return tokenizer


def make_base(folder: Path, *, hidden: int = 64, vocabulary: int = 320) -> Path:
    """Write a base model of random weights, deterministic, into `folder`."""
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def pair(number: int, *, weight: float = 1.0) -> dict[str, Any]:
    """One pair as the run writes it: the polite answer over the rude one, in ids."""
    tokenizer = make_tokenizer()
    messages = [{"role": "user", "content": f"how much is the oak bench {number}?"}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return found

    return {
        "id": f"pair-{number}",
        "prompt_token_ids": ids(prompt),
        "chosen": {"token_ids": ids(f"It costs {number} dollars.<|im_end|>")},
        "rejected": {"token_ids": ids("Ugh, read the website.<|im_end|>")},
        "messages": messages,
        "tools": None,
        "weight": weight,
        "signal": "preference",
    }


def label(number: int, good: bool, *, weight: float = 1.0) -> dict[str, Any]:
    """A polite answer that was judged good, or a rude one that was judged bad, as ids."""
    whole = pair(number)
    return {
        "id": f"label-{number}-{good}",
        "interaction_id": f"chatcmpl-{number}",
        "choice": 0,
        "prompt_token_ids": whole["prompt_token_ids"],
        "completion": whole["chosen" if good else "rejected"],
        "label": good,
        "weight": weight,
        "signal": "thumbs",
    }


def labels() -> list[dict[str, Any]]:
    """Eight judged answers to eight questions, half of them good."""
    return [label(number, number % 2 == 0) for number in range(8)]


def shown(number: int, *, weight: float = 1.0) -> dict[str, Any]:
    """A pair whose better answer a person wrote."""
    text = f"It costs {number} dollars."
    return pair(number, weight=weight) | {"chosen": {"text": text}, "signal": "demonstration"}


QUICK: dict[str, Any] = {
    "learning_rate": 5e-3,
    "per_device_batch": 4,
    "gradient_accumulation": 1,
    "max_length": 128,
    "warmup_steps": 0,
    "threads": 1,
}


def write_job(
    folder: Path,
    base: Path,
    *,
    rows: list[dict[str, Any]] | None = None,
    hyper: dict[str, Any] | None = None,
    method: str | None = None,
    stage: dict[str, Any] | None = None,
    **fields: Any,
) -> Path:
    """Write a job and its rows (eight pairs by default) into `folder`; returns the job's path.

    With a method the job has one stage; without, it has pairs, as in the previous release.
    """
    write_rows(folder / "pairs.jsonl", [pair(n) for n in range(8)] if rows is None else rows)
    values = QUICK | (hyper or {})
    if method is None:
        what: dict[str, Any] = {"pairs": "pairs.jsonl"}
    else:
        only = {"method": method, "file": "pairs.jsonl", "hyper": values, **(stage or {})}
        what = {"stages": [only]}
    job = {"base_model": str(base), "output": "adapter", "hyper": values, **what, **fields}
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    return path


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def prepared_trainer(folder: Path, base: Path, **fields: Any) -> Any:
    """A trainer as a run sets it up for the job's first stage, before its first step."""
    job = read_job(write_job(folder, base, **fields))
    setup = trainer_stages.Setup.of(job, fresh_scratch(job.output))
    stage = job.planned[0]
    prepared = trainer_stages.read_stage(setup, stage)
    return trainer_stages.build_trainer(setup, stage, prepared, job.warm_start)


def run_job(folder: Path, base: Path, **fields: Any) -> list[Event]:
    """Run a job in this process; its events, also those of a run that raises, are in `folder`."""
    job = read_job(write_job(folder, base, **fields))
    with (folder / "events.jsonl").open("wb") as file:
        writer = EventWriter(file.fileno(), lambda: datetime(2026, 11, 16, tzinfo=UTC))
        trainer_run.run(job, writer, fresh_scratch(job.output))
    return read_events(folder)


def read_events(folder: Path) -> list[Event]:
    return [parse_event(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]


def of_kind(events: list[Event], kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]
