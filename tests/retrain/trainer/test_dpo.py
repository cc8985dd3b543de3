from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from retrain.config import SMOOTHED_LOSSES, LossType
from retrain.trainer.errors import NonFiniteError
from tests.lazy_modules import lazy
from tests.retrain.trainer.tiny import pair, prepared_trainer

torch = lazy("torch")
dpo = lazy("retrain.trainer.methods.dpo")

pytestmark = pytest.mark.slow


def batch_of(trainer: Any) -> dict[str, Any]:
    batch: dict[str, Any] = trainer.data_collator(list(trainer.train_dataset))
    return batch


def gradient(trainer: Any, weights: list[float], rows: slice) -> Any:
    """The adapter's gradient on some of the pairs, with these weights, as one vector."""
    batch = trainer.data_collator(list(trainer.train_dataset)[rows])
    batch["weight"] = torch.tensor(weights)
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, batch).backward()
    parts = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
    return torch.cat(parts)


def with_loss(folder: Path, base: Path, loss: str) -> Any:
    hyper = {
        "loss_type": [loss],
        "loss_weights": [1.0],
        "label_smoothing": 0.1 if loss in SMOOTHED_LOSSES else 0.0,
    }
    # Chosen answers of one length: the sft loss is a mean over the batch's tokens.
    return prepared_trainer(folder, base, rows=[pair(1), pair(2)], hyper=hyper)


def test_the_batch_holds_the_served_ids(tmp_path: Path, base: Path) -> None:
    rows = [pair(number, weight=1 / (number + 1)) for number in range(3)]
    batch = batch_of(prepared_trainer(tmp_path, base, rows=rows))
    fed = [
        ids[mask.bool()].tolist()
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    prompts = [row["prompt_token_ids"] for row in rows]
    answers = [row[side]["token_ids"] for side in ("chosen", "rejected") for row in rows]
    assert fed == [prompt + answer for prompt, answer in zip(prompts * 2, answers, strict=True)]


def test_the_loss_is_taken_on_the_answers_only(tmp_path: Path, base: Path) -> None:
    batch = batch_of(prepared_trainer(tmp_path, base, rows=[pair(1)]))
    answers = [
        ids[mask.bool()].tolist()
        for ids, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True)
    ]
    assert answers == [pair(1)["chosen"]["token_ids"], pair(1)["rejected"]["token_ids"]]


def test_the_batch_holds_the_weights(tmp_path: Path, base: Path) -> None:
    rows = [pair(number, weight=weight) for number, weight in enumerate((0.25, 1.0))]
    batch = batch_of(prepared_trainer(tmp_path, base, rows=rows))
    assert batch["weight"].tolist() == [0.25, 1.0]


@pytest.mark.parametrize("loss", get_args(LossType))
def test_a_pairs_gradient_is_scaled_by_its_weight(tmp_path: Path, base: Path, loss: str) -> None:
    trainer = with_loss(tmp_path, base, loss)
    first = gradient(trainer, [1.0], slice(0, 1))
    second = gradient(trainer, [1.0], slice(1, 2))
    both = gradient(trainer, [0.25, 0.5], slice(0, 2))
    assert first.abs().max() > 0
    torch.testing.assert_close(both, (0.25 * first + 0.5 * second) / 2, rtol=1e-3, atol=1e-6)


def test_a_pair_of_no_weight_gives_no_gradient(tmp_path: Path, base: Path) -> None:
    trainer = prepared_trainer(tmp_path, base)
    assert gradient(trainer, [0.0], slice(0, 1)).abs().max() == 0


def test_the_rows_weights_reach_training(tmp_path: Path, base: Path) -> None:
    seen: list[float] = []

    class Watching(dpo.PairTrainer):  # type: ignore[misc, name-defined]  # imported when used
        def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
            seen.extend(inputs["weight"].tolist())
            return super()._compute_loss(model, inputs, return_outputs)

    trainer = prepared_trainer(
        tmp_path, base, rows=[pair(number, weight=0.5) for number in range(4)]
    )
    trainer.__class__ = Watching
    trainer.train()
    assert seen == [0.5] * 4


def test_a_loss_that_is_not_finite_stops_training(tmp_path: Path, base: Path) -> None:
    trainer = prepared_trainer(tmp_path, base)
    trainer.beta = float("nan")
    with pytest.raises(NonFiniteError, match="loss was not finite at step 1"):
        trainer.train()


def test_a_gradient_that_is_not_finite_stops_training_before_the_step(
    tmp_path: Path, base: Path
) -> None:
    trainer = prepared_trainer(tmp_path, base)
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in trained]
    trained[0].register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(NonFiniteError, match="gradient was not finite at step 1"):
        trainer.train()
    assert all(torch.equal(p, q) for p, q in zip(trained, before, strict=True))
