"""The demo's base model, really trained: a few steps for its files, many to see its manners."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from demo.shop.asking import ask
from demo.shop.taste import features, style_of
from demo.shop.world import STYLE_SHARES, split
from tests.lazy_modules import lazy

torch = lazy("torch")
transformers = lazy("transformers")
base_model = lazy("demo.shop.base_model")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def briefly_trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    report = base_model.make_base_model(folder, steps=3, threads=1)
    assert report.parameters < 600_000
    return folder


def test_the_folder_holds_a_bf16_model_that_ends_its_turns(briefly_trained: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(briefly_trained)
    tokenizer = transformers.AutoTokenizer.from_pretrained(briefly_trained)
    assert model.dtype == torch.bfloat16
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert tokenizer.eos_token == "<|im_end|>"
    assert [path.name for path in briefly_trained.parent.iterdir()] == ["base"]


def test_the_template_gives_the_prompt_that_an_answer_continues(briefly_trained: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(briefly_trained)
    asked = [{"role": "user", "content": "How much is the oak bench?"}]
    whole = [*asked, {"role": "assistant", "content": "12 dollars."}]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    assert tokenizer.apply_chat_template(whole, tokenize=False) == f"{prompt}12 dollars.<|im_end|>"


def test_what_is_there_already_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(base_model.BaseModelExistsError, match="choose another folder"):
        base_model.make_base_model(tmp_path, steps=1)


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(done: int, steps: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        base_model.make_base_model(tmp_path / "base", steps=1, threads=1, progress=fail)
    assert list(tmp_path.iterdir()) == []


def test_rows_hold_whole_examples_and_lose_none() -> None:
    examples = [
        base_model.TrainingText([1] * (number % 7 + 1), [2] * (number % 5 + 1))
        for number in range(200)
    ]
    rows = base_model.packed_rows(examples, 20, random.Random(0))
    seen: list[Any] = []
    while len(seen) < 190:
        row = next(rows)
        assert 0 < sum(len(prompt) + len(answer) for prompt, answer in row) <= 20
        seen += row
    assert not Counter(map(str, seen)) - Counter(map(str, examples))


def test_it_is_right_as_a_rule_and_has_every_style(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    base_model.make_base_model(folder, steps=650)
    rng = random.Random(5)
    questions = [rng.choice(split()[1]) for _ in range(300)]
    texts = sampled(folder, [ask(question, rng) for question in questions])
    answered = list(zip(questions, texts, strict=True))
    assert 0.45 < fmean(features(question, text).correct for question, text in answered) < 0.8
    styles = Counter(style_of(question, text) for question, text in answered)
    assert all(styles[style] > 0.08 * len(answered) for style in STYLE_SHARES)


def sampled(folder: Path, questions: list[str]) -> list[str]:
    """Answers at temperature 1."""
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    turns = [[{"role": "user", "content": text}] for text in questions]
    prompts = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    encoded = tokenizer(prompts, return_tensors="pt", padding=True)
    generated = model.generate(  # turns gradients off by itself
        input_ids=encoded.input_ids,
        attention_mask=encoded.attention_mask,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        max_new_tokens=110,
    )
    answers = generated[:, encoded.input_ids.shape[1] :]
    texts: list[str] = tokenizer.batch_decode(answers, skip_special_tokens=True)
    return texts
