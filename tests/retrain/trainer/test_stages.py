"""Several stages in one run: each starts from what the one before it left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retrain.trainer.errors import TooFewPairsError
from retrain.trainer.events import BatchHalved, LeftOut, Reference, Saved, Started, Step
from tests.lazy_modules import lazy
from tests.retrain.trainer.tiny import QUICK, labels, of_kind, run_job, shown, write_rows

tensors = lazy("safetensors.torch")
torch = lazy("torch")
dpo = lazy("retrain.trainer.methods.dpo")

pytestmark = pytest.mark.slow


def stages(**hyper: Any) -> list[dict[str, Any]]:
    """SFT on demonstrations, DPO on all pairs, KTO on labels."""
    values = QUICK | hyper
    return [
        {"method": "sft", "file": "pairs.jsonl", "hyper": values},
        {"method": "dpo", "file": "pairs.jsonl", "hyper": values},
        {"method": "kto", "file": "labels.jsonl", "hyper": values},
    ]


def rows(folder: Path) -> list[dict[str, Any]]:
    write_rows(folder / "labels.jsonl", labels())
    return [shown(number) for number in range(8)]


def run_stages(folder: Path, base: Path, found: list[dict[str, Any]], **fields: Any) -> Any:
    return run_job(folder, base, rows=rows(folder), pairs=None, stages=found, **fields)


def test_stages_are_trained_in_turn_and_told_apart(tmp_path: Path, base: Path) -> None:
    events = run_stages(tmp_path, base, stages())
    told = [(e.stage, e.method, e.stages) for e in of_kind(events, Started)]
    assert told == [(1, "sft", 3), (2, "dpo", 3), (3, "kto", 3)]
    starts = [(e.method, e.adapter) for e in of_kind(events, Reference)]
    assert starts == [("sft", "base"), ("dpo", "live"), ("kto", "live")]
    assert {(e.stage, e.method) for e in of_kind(events, Step)} == {
        (1, "sft"),
        (2, "dpo"),
        (3, "kto"),
    }
    assert len(of_kind(events, Saved)) == 1
    record = json.loads((tmp_path / "adapter/training.json").read_text())
    assert [stage["method"] for stage in record["stages"]] == ["sft", "dpo", "kto"]
    assert (record["steps"], record["pairs"], record["last"]["method"]) == (6, 24, "kto")


def test_a_stage_starts_from_the_adapter_of_the_one_before(tmp_path: Path, base: Path) -> None:
    """A second stage that learns nothing leaves what the first one learnt."""
    still = stages(learning_rate=1e-12)[1]
    (tmp_path / "one").mkdir()
    run_stages(tmp_path / "one", base, stages()[:1])
    run_stages(tmp_path, base, [stages()[0], still])
    first = tensors.load_file(tmp_path / "one/adapter/adapter_model.safetensors")
    both = tensors.load_file(tmp_path / "adapter/adapter_model.safetensors")
    torch.testing.assert_close(both, first, rtol=0, atol=1e-6)


def test_the_same_stages_give_the_same_bytes(tmp_path: Path, base: Path) -> None:
    shas = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shas.add(of_kind(run_stages(tmp_path / name, base, stages()[::2]), Saved)[0].sha256)
    assert len(shas) == 1


def test_a_stage_with_too_few_rows_is_left_out_where_another_has_enough(
    tmp_path: Path, base: Path
) -> None:
    found = stages()
    found[0]["minimum"] = 9
    events = run_stages(tmp_path, base, found)
    (left_out,) = of_kind(events, LeftOut)
    assert (left_out.stage, left_out.method) == (1, "sft")
    assert "8 demonstrations, fewer than the minimum of 9" in left_out.reason
    assert [e.method for e in of_kind(events, Started)] == ["dpo", "kto"]


def test_no_stage_with_enough_rows_ends_the_run_with_all_reasons(
    tmp_path: Path, base: Path
) -> None:
    found = [stage | {"minimum": 9} for stage in stages()]
    with pytest.raises(TooFewPairsError, match=r"8 demonstrations.*8 pairs.*8 labels"):
        run_stages(tmp_path, base, found)


def test_each_stage_may_halve_its_batch_once(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dpo.PairTrainer._compute_loss

    def guarded(self: Any, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        if len(inputs["weight"]) > 2:
            raise MemoryError
        return whole(self, model, inputs, return_outputs)

    monkeypatch.setattr(dpo.PairTrainer, "_compute_loss", guarded)
    events = run_stages(tmp_path, base, [*stages()[1:2], *stages()[1:2]])
    assert [(e.stage, e.per_device_batch) for e in of_kind(events, BatchHalved)] == [(1, 2), (2, 2)]


def test_each_stage_has_curves_of_its_own(tmp_path: Path, base: Path) -> None:
    run_stages(tmp_path, base, stages()[:2], tensorboard="curves")
    assert {path.name for path in (tmp_path / "curves").iterdir()} == {"1-sft", "2-dpo"}
