"""Trains the demo's tiny base model: a two-layer Llama that knows the facts of Bramblewick.

It has 0.58 M parameters and takes about a minute and a half on one core. Sampled at temperature 1,
about seven of ten answers are right and all five styles occur, so that feedback can improve it.
"""

import math
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from demo.shop.chat_template import chat_template
from demo.shop.chats import ShopChat, chats
from demo.shop.world import split
from demo.shop.world_text import SYSTEM_PROMPTS

PAD, TURN_START, TURN_END = "<|pad|>", "<|im_start|>", "<|im_end|>"
IGNORED = -100
"""The label that `torch.nn.functional.cross_entropy` ignores."""

Progress = Callable[[int, int, float], None]
"""Called with the steps done, the total of steps and the last loss."""


class BaseModelExistsError(FileExistsError):
    """The folder for the model exists already."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} already exists: remove it or choose another folder")


@dataclass(frozen=True, slots=True)
class Recipe:
    """The model's shape and its training hyperparameters; the defaults were tuned together."""

    chats: int = 24_000
    vocabulary: int = 1_200
    hidden: int = 128
    intermediate: int = 384
    layers: int = 2
    heads: int = 4
    positions: int = 2048
    row_tokens: int = 192
    batch_rows: int = 8
    learning_rate: float = 8e-3
    warmup_steps: int = 30
    system_share: float = 0.1
    follow_up_share: float = 0.05


@dataclass(frozen=True, slots=True)
class BaseModelReport:
    """The result of training. `loss` is the mean over the last 50 steps, in nats per token."""

    folder: Path
    parameters: int
    vocabulary: int
    steps: int
    loss: float
    seconds: float


class TrainingText(NamedTuple):
    """Token ids of a conversation up to the answer, and of the answer with its end."""

    prompt: list[int]
    answer: list[int]


class Batch(NamedTuple):
    """Packed rows: all of shape (rows, tokens), the mask (rows, 1, tokens, tokens)."""

    ids: Any
    labels: Any
    positions: Any
    mask: Any


def make_base_model(
    folder: Path,
    *,
    seed: int = 0,
    steps: int = 1000,
    threads: int = 1,
    progress: Progress | None = None,
) -> BaseModelReport:
    """Train the model and write it to `folder` in Hugging Face's layout, all or nothing.

    The same seed and number of threads give the same model on the same machine. A second thread
    saves little time on an idle machine and takes three times as long on a busy one. Raises
    `BaseModelExistsError` if `folder` exists.
    """
    if folder.exists():
        raise BaseModelExistsError(folder)
    started, recipe = time.perf_counter(), Recipe()
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tokenizer, examples = _examples(recipe, seed)
            model = _new_model(recipe, tokenizer)
            rows = packed_rows(examples, recipe.row_tokens, random.Random(seed))
            losses = _train(model, rows, recipe, steps, progress)
    finally:
        torch.set_num_threads(threads_before)
    _write(model, tokenizer, folder)
    return BaseModelReport(
        folder=folder,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocabulary=len(tokenizer),
        steps=steps,
        loss=sum(losses[-50:]) / max(1, len(losses[-50:])),
        seconds=time.perf_counter() - started,
    )


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """Learn a byte-level BPE of `vocabulary` tokens, with the chat template on it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=TURN_END,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    fast.chat_template = chat_template()
    return fast


def packed_rows(
    examples: Sequence[TrainingText], row_tokens: int, rng: random.Random
) -> Iterator[list[TrainingText]]:
    """Yield rows of complete examples, at most `row_tokens` long, reshuffled each epoch, forever.

    Batches sorted by length would underrepresent the long style, which would have fewer batches of
    the same weight.
    """
    order = list(examples)
    while True:
        rng.shuffle(order)
        row: list[TrainingText] = []
        used = 0
        for example in order:
            size = len(example.prompt) + len(example.answer)
            if used + size > row_tokens:
                yield row
                row, used = [], 0
            row.append(example)
            used += size


def _examples(recipe: Recipe, seed: int) -> tuple[Any, list[TrainingText]]:
    drawn = list(chats(recipe.chats, split()[0], random.Random(1000 + seed)))
    spoken = chain.from_iterable((chat.asked, chat.answer) for chat in drawn[:4000])
    roles = ["system", "user", "assistant", "\n"] * 10
    texts = chain(spoken, SYSTEM_PROMPTS, roles)
    tokenizer = train_tokenizer(texts, recipe.vocabulary)
    conversations = _conversations(drawn, recipe, random.Random(2000 + seed))
    prompts = tokenizer.apply_chat_template(
        conversations, add_generation_prompt=True, tokenize=False
    )
    answers = [chat.answer + TURN_END for chat in drawn]
    encoded = zip(tokenizer(prompts)["input_ids"], tokenizer(answers)["input_ids"], strict=True)
    fitting = (TrainingText(*pair) for pair in encoded)
    return tokenizer, [
        example
        for example in fitting
        if len(example.prompt) + len(example.answer) <= recipe.row_tokens
    ]


def _conversations(
    drawn: Sequence[ShopChat], recipe: Recipe, rng: random.Random
) -> list[list[dict[str, str]]]:
    """Return the messages before each answer: some have a system prompt or an earlier question."""
    conversations = []
    for chat in drawn:
        turns: list[dict[str, str]] = []
        if rng.random() < recipe.system_share:
            turns.append({"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
        if rng.random() < recipe.follow_up_share:
            earlier = rng.choice(drawn)
            turns.append({"role": "user", "content": earlier.asked})
            turns.append({"role": "assistant", "content": earlier.answer})
        turns.append({"role": "user", "content": chat.asked})
        conversations.append(turns)
    return conversations


def _new_model(recipe: Recipe, tokenizer: Any) -> Any:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.intermediate,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.positions,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )
    return LlamaForCausalLM(config)


def _batch(rows: Sequence[Sequence[TrainingText]], row_tokens: int) -> Batch:
    """Convert rows to tensors. An example attends only to itself, and only answers have labels."""
    shape = len(rows), row_tokens
    ids, positions = (torch.zeros(shape, dtype=torch.long) for _ in range(2))
    labels = torch.full(shape, IGNORED)
    owner = torch.full(shape, -1)
    for index, row in enumerate(rows):
        start = 0
        for number, (prompt, answer) in enumerate(row):
            end = start + len(prompt) + len(answer)
            ids[index, start:end] = torch.tensor(prompt + answer)
            labels[index, start + len(prompt) : end] = torch.tensor(answer)
            positions[index, start:end] = torch.arange(end - start)
            owner[index, start:end] = number
            start = end
    causal = torch.tril(torch.ones(row_tokens, row_tokens, dtype=torch.bool))
    same = owner[:, :, None] == owner[:, None, :]
    return Batch(ids, labels, positions, (same & causal)[:, None])


def _train(
    model: Any,
    rows: Iterator[list[TrainingText]],
    recipe: Recipe,
    steps: int,
    progress: Progress | None,
) -> list[float]:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    losses: list[float] = []
    for step in range(steps):
        batch = _batch([next(rows) for _ in range(recipe.batch_rows)], recipe.row_tokens)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, steps, recipe.warmup_steps)
        loss = _loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if progress is not None:
            progress(step + 1, steps, losses[-1])
    return losses


def _loss(model: Any, batch: Batch) -> Any:
    hidden = model.model(
        input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions
    ).last_hidden_state[:, :-1]
    labels = batch.labels[:, 1:]
    learned = labels != IGNORED
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[learned]), labels[learned])


def _schedule(step: int, steps: int, warmup_steps: int) -> float:
    """Linear warm-up times a cosine from 1 down to 0.03."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / warmup_steps) * (0.97 * cosine + 0.03)


def _write(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save in bf16 next to `folder`, then rename, so that no reader sees an incomplete model."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        model.generation_config.eos_token_id = tokenizer.eos_token_id
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        model.to(torch.bfloat16).save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
