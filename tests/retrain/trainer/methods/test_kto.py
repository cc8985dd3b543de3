from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from retrain.trainer.errors import (
    MemoryExhaustedError,
    ReferenceMismatchError,
    TooFewPairsError,
)
from retrain.trainer.events import BatchHalved, Reference, Started, Step
from retrain.trainer.job import TrainingStage
from tests.lazy_modules import lazy
from tests.retrain.trainer.tiny import (
    label,
    labels,
    of_kind,
    pair,
    prepared_trainer,
    run_job,
    shown,
    write_rows,
)

torch = lazy("torch")
kto = lazy("retrain.trainer.methods.kto")
reference = lazy("retrain.trainer.methods.reference")

pytestmark = pytest.mark.slow

WEIGHTS = [0.25, 1.0, 0.5, 2.0]


@pytest.fixture(scope="module")
def trainer(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A trainer of two good and two bad answers, whose policy has left the reference."""
    rows = [label(n, n in (1, 2), weight=WEIGHTS[n]) for n in range(4)]
    stage = {"desirable_weight": 3.0, "undesirable_weight": 1.5}
    built = prepared_trainer(
        tmp_path_factory.mktemp("kto"),
        base,
        rows=rows,
        method="kto",
        stage=stage,
        hyper={"beta": 0.7},
    )
    torch.manual_seed(1)
    for name, value in built.model.named_parameters():
        if "lora_B.default" in name:
            value.data.normal_(std=0.2)
    return built


def batch_of(trainer: Any) -> dict[str, Any]:
    batch: dict[str, Any] = trainer.data_collator(list(trainer.train_dataset))
    return batch


def log_probs(trainer: Any, batch: dict[str, Any], prefix: str = "") -> Any:
    """The policy's log-probabilities of the answers, with a gradient."""
    ids, mask = batch[prefix + "input_ids"], batch[prefix + "completion_mask"]
    logits = trainer.model(input_ids=ids, attention_mask=batch[prefix + "attention_mask"]).logits
    found = torch.log_softmax(logits[:, :-1].float(), -1).gather(-1, ids[:, 1:, None])[..., 0]
    return (found * mask[:, 1:]).sum(1)


def expected_loss(trainer: Any, batch: dict[str, Any]) -> Any:
    """The paper's loss of each answer, in the batch's order (arXiv:2402.01306, equation 8)."""
    with torch.no_grad():
        moved = log_probs(trainer, batch, "KL_") - batch["ref_KL_logps"]
    away = log_probs(trainer, batch) - batch["ref_logps"] - moved.mean().clamp(min=0)
    good = batch["label"]
    value = torch.sigmoid(trainer.beta * torch.where(good, away, -away))
    return torch.where(good, 3.0, 1.5) * (1 - value)


def gradient(trainer: Any, loss: Any) -> Any:
    trainer.model.zero_grad()
    loss.backward()
    parts = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
    return torch.cat(parts)


def test_the_gradient_is_that_of_the_weighted_losses(trainer: Any) -> None:
    batch = batch_of(trainer)
    trainer.model.train()
    found = gradient(trainer, trainer.compute_loss(trainer.model, batch))
    expected = gradient(trainer, (batch["weight"] * expected_loss(trainer, batch)).mean())
    assert batch["label"].tolist() != sorted(batch["label"].tolist(), reverse=True)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_the_loss_that_is_told_is_unweighted(trainer: Any) -> None:
    batch = batch_of(trainer)
    told = trainer.compute_loss(trainer.model, batch)
    torch.testing.assert_close(told, expected_loss(trainer, batch).mean(), rtol=1e-4, atol=1e-6)


def test_the_batch_holds_the_served_ids_in_one_order_with_their_labels(trainer: Any) -> None:
    batch = batch_of(trainer)
    for row in range(4):
        whole = batch["input_ids"][row][batch["attention_mask"][row].bool()].tolist()
        number = WEIGHTS.index(batch["weight"][row].item())
        served = label(number, bool(batch["label"][row]))
        assert whole == served["prompt_token_ids"] + served["completion"]["token_ids"]


def test_the_sampler_keeps_the_order_that_the_mismatched_answers_need(trainer: Any) -> None:
    assert list(trainer._get_train_sampler()) == list(range(len(trainer.train_dataset)))


@pytest.mark.parametrize("weights", [(1.0, 3.0), (2.0, 0.5)])
def test_the_rarer_kind_weighs_as_much_as_the_other(weights: tuple[float, float]) -> None:
    good, bad = weights
    rows = [
        {"prompt_ids": [1], "completion_ids": [2], "label": kind, "weight": weight}
        for kind, weight in ((True, good), (False, bad))
    ]
    desirable, undesirable = kto.class_weights(
        rows, TrainingStage(method="kto", file=Path("labels"))
    )
    assert desirable * good == pytest.approx(undesirable * bad)
    assert min(desirable, undesirable) == 1.0


def test_class_weights_that_are_set_are_used() -> None:
    stage = TrainingStage(method="kto", file=Path("labels"), undesirable_weight=2.0)
    assert kto.class_weights([], stage) == (1.0, 2.0)


def test_a_training_tells_good_answers_from_bad_ones(tmp_path: Path, base: Path) -> None:
    events = run_job(tmp_path, base, rows=labels(), method="kto", hyper={"epochs": 4})
    steps = of_kind(events, Step)
    assert steps[-1].loss < steps[0].loss
    assert steps[-1].reward_margin is not None
    assert steps[-1].reward_margin > 0.1
    assert (steps[-1].method, steps[-1].reward_accuracy) == ("kto", None)
    assert steps[-1].kl is not None
    assert of_kind(events, Started)[0].signals == {"thumbs": 8}
    (record,) = json.loads((tmp_path / "adapter/training.json").read_text())["stages"]
    assert (record["method"], record["rows"], record["class_weights"]) == ("kto", 8, [1.0, 1.0])


def test_a_warm_start_asserts_both_references(tmp_path: Path, base: Path) -> None:
    live = tmp_path / "first"
    live.mkdir()
    run_job(live, base, rows=labels(), method="kto")
    events = run_job(tmp_path, base, rows=labels(), method="kto", warm_start="first/adapter")
    (found,) = of_kind(events, Reference)
    assert (found.method, found.adapter) == ("kto", "live")
    assert found.max_reward is not None
    assert found.max_reward < 1e-4


@pytest.mark.parametrize("column", ["ref_logps", "ref_KL_logps"])
def test_a_wrong_reference_is_found_before_the_first_step(
    tmp_path: Path, base: Path, column: str
) -> None:
    trainer = prepared_trainer(tmp_path, base, rows=labels(), method="kto")
    wrong = [value + 1 for value in trainer.train_dataset[column]]
    without = trainer.train_dataset.remove_columns([column])
    trainer.train_dataset = without.add_column(column, wrong)
    with pytest.raises(ReferenceMismatchError):
        reference.assert_reference(trainer, warm_start=False)


def run_out_above(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = kto.LabelTrainer._compute_loss

    def guarded(self: Any, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        if len(inputs["weight"]) > rows:
            raise MemoryError
        return whole(self, model, inputs, return_outputs)

    monkeypatch.setattr(kto.LabelTrainer, "_compute_loss", guarded)


def test_half_a_batch_has_mismatched_answers_of_its_own(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_out_above(2, monkeypatch)
    seen: list[set[tuple[int, ...]]] = []
    collate = kto.LabelCollator.torch_call

    def watching(self: Any, examples: list[dict[str, Any]]) -> dict[str, Any]:
        own: Sequence[tuple[int, ...]] = [tuple(e["completion_ids"]) for e in examples]
        if len(examples) == 2:
            seen.append({tuple(e["KL_completion_ids"]) for e in examples} ^ set(own))
        batch: dict[str, Any] = collate(self, examples)
        return batch

    monkeypatch.setattr(kto.LabelCollator, "torch_call", watching)
    events = run_job(tmp_path, base, rows=labels(), method="kto")
    (half,) = of_kind(events, BatchHalved)
    assert (half.per_device_batch, half.method) == (2, "kto")
    assert seen
    assert all(not difference for difference in seen)


def test_a_batch_of_two_is_not_halved(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_out_above(1, monkeypatch)
    with pytest.raises(MemoryExhaustedError, match="batch of 2"):
        run_job(tmp_path, base, rows=labels(), method="kto", hyper={"per_device_batch": 2})


def test_the_answers_of_pairs_are_labels_where_the_stage_says_so(
    tmp_path: Path, base: Path
) -> None:
    found = {"origin": "counterpart", "vouched": "rejected", "signal": "thumbs"}
    write_rows(tmp_path / "more.jsonl", [pair(20), shown(21), pair(22) | found])
    events = run_job(
        tmp_path, base, rows=labels(), method="kto", stage={"pairs": "more.jsonl", "minimum": 12}
    )
    signals = of_kind(events, Started)[0].signals
    assert signals == {"thumbs": 9, "preference": 2, "demonstration": 2}


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ([(True, False), (True, False)], "all labels that fit are good"),
        ([(True, False)], "1 labels, fewer than the minimum of 2"),
        ([(False, False), (True, True)], "truncated 1"),
    ],
)
def test_labels_that_cannot_be_trained_on_end_the_run(
    tmp_path: Path, base: Path, kinds: list[tuple[bool, bool]], message: str
) -> None:
    rows = [
        label(number, good) | {"truncated": truncated}
        for number, (good, truncated) in enumerate(kinds)
    ]
    with pytest.raises(TooFewPairsError, match=message):
        run_job(tmp_path, base, rows=rows, method="kto", stage={"minimum": 2})
