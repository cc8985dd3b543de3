"""Trains, vets, loads and queries an adapter of one tiny model, for `bench.families`."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from vllm.inputs import tokens_input
from vllm.sampling_params import SamplingParams

from adapters.config import AdaptersConfig
from adapters.errors import VettingError
from adapters.vetting.base_model import BaseModelInfo, read_modules, renamed_tensors
from adapters.vetting.base_norms import BaseNorms
from adapters.vetting.families import Family as KnownFamily
from adapters.vetting.families import read_family
from adapters.vetting.vet import vet
from retrain.config import HyperParameters
from retrain.trainer.events import EventWriter
from retrain.trainer.job import Job
from retrain.trainer.model import Device, load_policy
from retrain.trainer.run import run
from server.engine.config import EngineConfig
from server.engine.errors import AdapterLoadError, EngineStartError
from server.engine.vllm.engine import VllmEngine, start_vllm
from tests.tiny_families import Family, make_family

PROMPT = [5, 6, 7, 8, 9, 100, 30, 44, 200, 17]
"""Token ids whose log-probabilities are compared."""
RANK, VERSION = 4, "trained"
MOVED, SAME = 1e-2, 2e-2
"""In nats: the minimum change of some token's log-probability by the adapter, and the maximum
difference between the engine's and the trainer's log-probabilities with the adapter."""


@dataclass(slots=True)
class Passage:
    """The result for a family; `outcome` describes it.

    `moved` is the largest change of a token's log-probability by the adapter in vLLM, in nats.
    `apart` is the largest difference between vLLM and the trainer's model, both with the adapter,
    and `base_apart` the same without it.
    """

    family: str
    architecture: str = ""
    modules: int = 0
    moved: float | None = None
    apart: float | None = None
    base_apart: float | None = None
    outcome: str = ""
    good: bool = False


def walk(family: Family, folder: Path) -> Passage:
    """Run all steps for a family; the first failure is the outcome."""
    passage = Passage(family.name)
    model = make_family(family, folder / "model")
    known = read_family(model)
    if known is None:
        raise LookupError(f"the config of {family.name} does not tell its family")
    passage.architecture = known.architecture
    if refuse_at_start(known, passage):
        return passage
    try:
        adapter = train(model, folder)
        passage.modules = check(model, adapter)
        cpu_only = known.why_not_served(cpu=not torch.cuda.is_available())
        if cpu_only is not None:
            passage.outcome = f"trained, vetted; refused at start on a CPU: {cpu_only}"
            passage.good = True
        else:
            asyncio.run(serve(model, adapter, passage))
    except (VettingError, EngineStartError, AdapterLoadError) as error:
        passage.outcome = f"{type(error).__name__}: {error}"
    return passage


def refuse_at_start(known: KnownFamily, passage: Passage) -> bool:
    """Return whether the family is refused before training, which is a good outcome."""
    unserved, untrained = known.why_not_served(cpu=False), known.why_not_trained()
    if unserved is None and untrained is None:
        return False
    passage.outcome = f"refused at start: {unserved or untrained}"
    passage.good = True
    return True


def train(model: Path, folder: Path) -> Path:
    """Train two steps on four made-up pairs with the trainer's own code."""
    pairs, scratch = folder / "pairs.jsonl", folder / "scratch"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in made_up_pairs()))
    scratch.mkdir()
    hyper = HyperParameters(
        lora_rank=RANK,
        lora_alpha=2 * RANK,
        learning_rate=1e-2,
        warmup_steps=0,
        max_steps=2,
        gradient_accumulation=1,
        threads=1,
    )
    job = Job(
        base_model=str(model),
        pairs=pairs,
        output=folder / "adapter",
        served_modules=frozenset(read_modules(model)),
        hyper=hyper,
    )
    with (folder / "events.jsonl").open("w") as events:
        run(job, EventWriter(events.fileno(), lambda: datetime.now(UTC)), scratch)
    return job.output


def made_up_pairs() -> list[dict[str, Any]]:
    """Four pairs in token ids."""
    return [
        {
            "id": str(number),
            "prompt_token_ids": [5, 6, 7 + number, 8],
            "chosen": {"token_ids": [9, 10 + number, 11, 2]},
            "rejected": {"token_ids": [12, 13, 2]},
            "signal": "preference",
        }
        for number in range(4)
    ]


def check(model: Path, adapter: Path) -> int:
    """Vet the adapter as the registry does and return the number of its modules."""
    base = BaseModelInfo(
        model.name,
        "0" * 64,
        8,
        read_modules(model),
        norms=BaseNorms(model, tensors=renamed_tensors(model)),
        family=read_family(model),
    )
    return vet(adapter, base, AdaptersConfig()).modules


async def serve(model: Path, adapter: Path, passage: Passage) -> None:
    """Load the adapter into vLLM; compare its log-probabilities with base and with the trainer."""
    config = EngineConfig(
        model=str(model),
        dtype="float32",
        kv_cache_gib=0.05,
        max_lora_rank=8,
        adapter_slots=4,
        extra_args=["--max-model-len", "128", "--max-num-seqs", "2"],
    )
    engine = await start_vllm(config, fast_start=True)
    try:
        before = await log_probs(engine, None)
        await engine.load(VERSION, adapter)
        after = await log_probs(engine, VERSION)
    finally:
        await engine.close()
    passage.moved = largest_difference(before, after)
    passage.apart = largest_difference(after, trainers_log_probs(model, adapter))
    passage.base_apart = largest_difference(before, trainers_log_probs(model, None))
    passage.good = passage.moved > MOVED and passage.apart < SAME
    passage.outcome = in_words(passage)


def in_words(passage: Passage) -> str:
    """The outcome of a family that answered."""
    if passage.good:
        return "trained, vetted, loaded, answers"
    if passage.base_apart is not None and passage.base_apart >= SAME:
        return "vLLM and transformers differ without an adapter too"
    return "answers otherwise than the trainer's own model"


async def log_probs(engine: VllmEngine, version: str | None) -> list[float]:
    """Return the engine's log-probability of each token of the prompt after the first."""
    lora = engine._serving.models.lora_requests[version] if version else None
    only_the_prompt = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0)
    async for output in engine._llm.generate(
        tokens_input(PROMPT), only_the_prompt, f"{version}", lora_request=lora
    ):
        given = output.prompt_logprobs
    return [float(entry[token].logprob) for entry, token in zip(given[1:], PROMPT[1:], strict=True)]


def trainers_log_probs(model: Path, adapter: Path | None) -> list[float]:
    """Return the log-probabilities of the same tokens from transformers and, if any, PEFT."""
    job = Job(base_model=str(model), pairs=model, output=model)
    policy = load_policy(job, Device(cuda=False, bf16=False))
    if adapter is not None:
        policy = PeftModel.from_pretrained(policy, adapter)
    policy.eval()
    with torch.no_grad():
        logits = policy(input_ids=torch.tensor([PROMPT])).logits[0, :-1].float()
    chosen = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(PROMPT[1:])[:, None])
    return [float(value) for value in chosen[:, 0]]


def largest_difference(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest absolute difference, pair by pair."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))
