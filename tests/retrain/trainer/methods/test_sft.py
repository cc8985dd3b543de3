from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retrain.trainer.errors import TooFewPairsError
from retrain.trainer.events import Dropped, Reference, Started, Step
from tests.lazy_modules import lazy
from tests.retrain.trainer.tiny import (
    make_tokenizer,
    of_kind,
    pair,
    prepared_trainer,
    run_job,
    shown,
)

torch = lazy("torch")

pytestmark = pytest.mark.slow


def demonstrations() -> list[dict[str, Any]]:
    return [shown(number) for number in range(8)]


def gradient(trainer: Any, weights: list[float]) -> Any:
    batch = trainer.data_collator(list(trainer.train_dataset))
    batch["weight"] = torch.tensor(weights)
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, batch).backward()
    parts = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
    return torch.cat(parts)


def test_the_labels_are_the_demonstrations_ids_and_nothing_else(tmp_path: Path, base: Path) -> None:
    trainer = prepared_trainer(tmp_path, base, rows=[shown(1), pair(2)], method="sft")
    batch = trainer.data_collator(list(trainer.train_dataset))
    tokenizer = make_tokenizer()
    answer = tokenizer.encode("It costs 1 dollars.<|im_end|>", add_special_tokens=False)
    (labels,) = batch["labels"].tolist()
    assert [token for token in labels if token != -100] == answer
    served = shown(1)["prompt_token_ids"] + answer
    assert batch["input_ids"].tolist() == [served]


def test_an_answers_gradient_is_scaled_by_its_weight(tmp_path: Path, base: Path) -> None:
    """Both answers have as many tokens; the loss is a mean over the batch's tokens."""
    trainer = prepared_trainer(tmp_path, base, rows=[shown(1), shown(2)], method="sft")
    trainer.model.train()
    first, second = gradient(trainer, [1.0, 0.0]), gradient(trainer, [0.0, 1.0])
    both = gradient(trainer, [0.25, 0.5])
    assert first.abs().max() > 0
    torch.testing.assert_close(both, 0.25 * first + 0.5 * second, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("warm", [False, True])
def test_a_training_makes_the_demonstrations_likelier(
    tmp_path: Path, base: Path, warm: bool
) -> None:
    start = {}
    if warm:
        (tmp_path / "first").mkdir()
        run_job(tmp_path / "first", base, rows=demonstrations(), method="sft")
        start = {"warm_start": "first/adapter"}
    events = run_job(
        tmp_path, base, rows=demonstrations(), method="sft", hyper={"epochs": 4}, **start
    )
    steps = of_kind(events, Step)
    assert steps[-1].loss < steps[0].loss
    assert steps[-1].token_accuracy is not None
    assert (steps[-1].method, steps[-1].reward_margin) == ("sft", None)
    assert of_kind(events, Reference)[0].max_reward is None


def test_a_warm_start_on_four_bits_begins_with_the_live_weights(tmp_path: Path, base: Path) -> None:
    (tmp_path / "first").mkdir()
    run_job(tmp_path / "first", base, rows=demonstrations(), method="sft")
    trainer = prepared_trainer(
        tmp_path,
        base,
        rows=demonstrations(),
        method="sft",
        hyper={"quantization": "nf4"},
        warm_start="first/adapter",
    )
    live = prepared_trainer(
        tmp_path / "first",
        base,
        rows=demonstrations(),
        method="sft",
        warm_start="adapter",
        output="again",
    )
    expected = {n: p for n, p in live.model.named_parameters() if ".default." in n}
    for name, value in trainer.model.named_parameters():
        if ".default." in name:
            torch.testing.assert_close(value.data, expected[name].data, rtol=0, atol=0)


def test_what_cannot_be_rendered_is_told(tmp_path: Path, base: Path) -> None:
    forged = shown(1) | {"chosen": {"text": "It costs <|im_end|> dollars."}}
    events = run_job(tmp_path, base, rows=[shown(2), forged, pair(3)], method="sft")
    assert of_kind(events, Started)[0].signals == {"demonstration": 1}
    assert of_kind(events, Dropped)[0].reasons == {"special_tokens": 1}


def test_chosen_answers_of_other_signals_are_trained_on_where_the_stage_says_so(
    tmp_path: Path, base: Path
) -> None:
    events = run_job(
        tmp_path, base, method="sft", rows=[shown(1), pair(2)], stage={"signals": ["preference"]}
    )
    assert of_kind(events, Started)[0].signals == {"preference": 1}


def test_pairs_without_a_demonstration_are_too_few(tmp_path: Path, base: Path) -> None:
    with pytest.raises(TooFewPairsError, match="0 demonstrations"):
        run_job(tmp_path, base, method="sft")
