from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from retrain.trainer.errors import JobError, MemoryExhaustedError, NonFiniteError
from retrain.trainer.events import BatchHalved, Dropped, Reference, Saved, Started, Step
from tests.lazy_modules import lazy
from tests.retrain.trainer.tiny import of_kind, pair, prepared_trainer, read_events, run_job

torch = lazy("torch")
functional = lazy("bitsandbytes.functional")
bitsandbytes_nn = lazy("bitsandbytes.nn")
tensors = lazy("safetensors.torch")
dpo = lazy("retrain.trainer.methods.dpo")
reference = lazy("retrain.trainer.methods.reference")

pytestmark = pytest.mark.slow


def test_training_lowers_the_loss_and_tells_the_answers_apart(tmp_path: Path, base: Path) -> None:
    steps = of_kind(run_job(tmp_path, base, hyper={"epochs": 4}), Step)
    assert [step.step for step in steps] == list(range(1, 9))
    assert steps[-1].loss < steps[0].loss
    assert steps[-1].reward_accuracy == 1.0
    assert steps[-1].reward_margin is not None
    assert steps[-1].reward_margin > 0.3


def test_a_run_leaves_the_adapter_its_config_and_its_record(tmp_path: Path, base: Path) -> None:
    saved = of_kind(run_job(tmp_path, base, seed=7), Saved)[0]
    folder = tmp_path / "adapter"
    weights = folder / "adapter_model.safetensors"
    names = {path.name for path in folder.iterdir()}
    assert names == {weights.name, "adapter_config.json", "training.json"}
    assert saved.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)
    record = json.loads((folder / "training.json").read_text())
    assert (record["pairs"], record["steps"], record["seed"]) == (8, 2, 7)


def test_the_same_job_gives_the_same_bytes(tmp_path: Path, base: Path) -> None:
    shas = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shas.append(of_kind(run_job(tmp_path / name, base), Saved)[0].sha256)
    assert shas[0] == shas[1]


def test_a_warm_start_goes_on_from_live_and_is_saved_without_the_reference(
    tmp_path: Path, base: Path
) -> None:
    live = tmp_path / "first"
    live.mkdir()
    run_job(live, base)
    events = run_job(
        tmp_path, base, warm_start="first/adapter", hyper={"learning_rate": 1e-9, "lora_rank": 4}
    )
    (reference,) = of_kind(events, Reference)
    assert (reference.adapter, reference.lora_rank) == ("live", 16)
    before = tensors.load_file(live / "adapter/adapter_model.safetensors")
    after = tensors.load_file(tmp_path / "adapter/adapter_model.safetensors")
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)


def test_a_warm_start_of_other_modules_is_refused(tmp_path: Path, base: Path) -> None:
    live = tmp_path / "first"
    live.mkdir()
    run_job(live, base)
    weights = live / "adapter/adapter_model.safetensors"
    part = dict(list(tensors.load_file(weights).items())[2:])
    tensors.save_file(part, weights)
    with pytest.raises(JobError, match="warm_start"):
        run_job(tmp_path, base, warm_start="first/adapter")


def test_a_base_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="base_model"):
        run_job(tmp_path, tmp_path / "none")


def test_demonstrations_are_rendered_and_what_does_not_fit_is_told(
    tmp_path: Path, base: Path
) -> None:
    shown = pair(1) | {"chosen": {"text": "It costs 46 dollars."}, "signal": "demonstration"}
    long = pair(2) | {"prompt_token_ids": [5] * 200}
    events = run_job(tmp_path, base, rows=[shown, pair(3), long])
    assert of_kind(events, Started)[0].signals == {"demonstration": 1, "preference": 1}
    assert of_kind(events, Dropped)[0].reasons == {"too_long": 1}


def test_curves_are_written_for_tensorboard(tmp_path: Path, base: Path) -> None:
    run_job(tmp_path, base, tensorboard="curves")
    assert list((tmp_path / "curves").glob("events.out.tfevents.*"))


def test_memory_that_runs_out_halves_the_batch_once(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_out_above(2, monkeypatch)
    events = run_job(tmp_path, base)
    assert [
        (e.per_device_batch, e.gradient_accumulation) for e in of_kind(events, BatchHalved)
    ] == [(2, 2)]
    assert [step.step for step in of_kind(events, Step)] == [1, 2]
    record = json.loads((tmp_path / "adapter/training.json").read_text())
    assert record["hyper"]["per_device_batch"] == 2


def test_memory_that_runs_out_twice_ends_the_run_with_nothing(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_out_above(1, monkeypatch)
    with pytest.raises(MemoryExhaustedError):
        run_job(tmp_path, base)
    assert not (tmp_path / "adapter").exists()


def run_out_above(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that more than so many pairs do not fit into memory."""
    whole = dpo.PairTrainer._compute_loss

    def guarded(self: Any, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        if len(inputs["weight"]) > pairs:
            raise MemoryError
        return whole(self, model, inputs, return_outputs)

    monkeypatch.setattr(dpo.PairTrainer, "_compute_loss", guarded)


def test_a_learning_rate_beyond_reason_ends_the_run_with_nothing(
    tmp_path: Path, base: Path
) -> None:
    with pytest.raises(NonFiniteError):
        run_job(tmp_path, base, hyper={"learning_rate": 1e30, "epochs": 3})
    assert not (tmp_path / "adapter").exists()
    assert of_kind(read_events(tmp_path), Saved) == []


@pytest.mark.parametrize("warm", [False, True])
def test_a_four_bit_base_trains(tmp_path: Path, base: Path, warm: bool) -> None:
    live = tmp_path / "first"
    live.mkdir()
    if warm:
        run_job(live, base)
    start = {"warm_start": "first/adapter"} if warm else {}
    steps = of_kind(
        run_job(tmp_path, base, hyper={"quantization": "nf4", "epochs": 4}, **start), Step
    )
    assert steps[-1].loss < steps[0].loss


def test_the_gradient_flows_through_a_four_bit_base(tmp_path: Path, base: Path) -> None:
    """It is the gradient of the same weights in full precision (see `disable_dropout`)."""
    for name in ("four", "full"):
        (tmp_path / name).mkdir()
    four = prepared_trainer(tmp_path / "four", base, hyper={"quantization": "nf4"})
    reference.assert_reference(four, warm_start=False)
    full = prepared_trainer(tmp_path / "full", with_four_bit_weights(four, base, tmp_path / "base"))
    full.train_dataset = four.train_dataset
    expected = adapter_gradient(full)
    assert (adapter_gradient(four) - expected).norm() < 0.02 * expected.norm()


def with_four_bit_weights(trainer: Any, base: Path, folder: Path) -> Path:
    """A copy of the base model whose weights are what a four-bit trainer's layers hold."""
    shutil.copytree(base, folder)
    weights = tensors.load_file(folder / "model.safetensors")
    for name, module in trainer.model.named_modules():
        if isinstance(module, bitsandbytes_nn.Linear4bit):
            key = name.removeprefix("base_model.model.").removesuffix(".base_layer") + ".weight"
            weight = module.weight
            weights[key] = functional.dequantize_4bit(weight.data, weight.quant_state).contiguous()
    tensors.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def adapter_gradient(trainer: Any) -> Any:
    trainer.model.train()
    batch = trainer.data_collator(list(trainer.train_dataset))
    trainer.compute_loss(trainer.model, batch).backward()
    trained = (p for p in trainer.model.parameters() if p.requires_grad)
    return torch.cat([p.grad.flatten() for p in trained])
