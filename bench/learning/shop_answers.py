"""Samples answers from the shop's base model in this process, as token ids."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.shop.asking import ask
from demo.shop.world import ShopQuestion

BATCH = 100
MAX_TOKENS = 64


@dataclass(frozen=True, slots=True)
class ShopAnswer:
    """One answer of the base model to one question, worded by somebody."""

    question: ShopQuestion
    prompt_token_ids: list[int]
    token_ids: list[int]
    text: str


def sampled(
    base: Path, questions: Sequence[ShopQuestion], seed: int, *, each: int = 1
) -> list[ShopAnswer]:
    """Return `each` answers to each question, sampled at temperature 1, in order."""
    import torch  # noqa: PLC0415 - slow to import
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = random.Random(f"asking-{seed}")
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    prompts = [_prompt(tokenizer, ask(question, rng)) for question in questions]
    rows = [index for index in range(len(prompts)) for _ in range(each)]
    order = sorted(range(len(rows)), key=lambda place: len(prompts[rows[place]]))
    found: dict[int, list[int]] = {}
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        found |= zip(
            places,
            _generated(model, tokenizer, [prompts[rows[one]] for one in places]),
            strict=True,
        )
    return [
        ShopAnswer(
            questions[row],
            prompts[row],
            found[place],
            tokenizer.decode(found[place], skip_special_tokens=True),
        )
        for place, row in enumerate(rows)
    ]


def _prompt(tokenizer: Any, text: str) -> list[int]:
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
    )
    ids: list[int] = tokenizer.encode(rendered, add_special_tokens=False)
    return ids


def _generated(model: Any, tokenizer: Any, prompts: Sequence[list[int]]) -> Iterator[list[int]]:
    """Yield the sampled ids of each answer, with the end of the turn if it was reached."""
    import torch  # noqa: PLC0415

    width = max(len(prompt) for prompt in prompts)
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    with torch.no_grad():
        whole = model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            max_new_tokens=MAX_TOKENS,
            pad_token_id=pad,
            eos_token_id=end,
        )
    for answer in whole[:, width:].tolist():
        yield answer[: answer.index(end) + 1] if end in answer else answer
