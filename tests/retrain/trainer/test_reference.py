from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retrain.trainer.errors import ReferenceMismatchError
from tests.lazy_modules import lazy
from tests.retrain.trainer.tiny import prepared_trainer, run_job

torch = lazy("torch")
reference = lazy("retrain.trainer.methods.reference")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def live(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that has learnt something."""
    folder = tmp_path_factory.mktemp("live")
    run_job(folder, base)
    return folder / "adapter"


def parameters(model: Any, part: str) -> list[Any]:
    return [value for name, value in model.named_parameters() if part in name]


@pytest.mark.parametrize("precompute", [True, False])
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_the_reference_of_a_warm_start_is_the_live_adapter(
    tmp_path: Path, base: Path, live: Path, precompute: bool, quantization: str
) -> None:
    hyper = {"precompute_ref_log_probs": precompute, "quantization": quantization}
    trainer = prepared_trainer(tmp_path, base, warm_start=str(live), hyper=hyper)
    assert reference.assert_reference(trainer, warm_start=True) < 1e-4
    policy = parameters(trainer.model, ".default.")
    assert {value.dtype for value in policy} == {torch.float32}
    assert any(value.abs().max() > 0 for value in parameters(trainer.model, "lora_B.default."))


@pytest.mark.parametrize("precompute", [True, False])
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_the_reference_of_a_fresh_adapter_is_the_base_model(
    tmp_path: Path, base: Path, precompute: bool, quantization: str
) -> None:
    hyper = {"precompute_ref_log_probs": precompute, "quantization": quantization}
    trainer = prepared_trainer(tmp_path, base, hyper=hyper)
    assert reference.assert_reference(trainer, warm_start=False) < 1e-4


def shift_reference(trainer: Any) -> None:
    parameters(trainer.model, ".ref.")[0].data.add_(0.5)


def shift_both(trainer: Any) -> None:
    """The copies agree, but the reference was precomputed with other weights."""
    for part in (".default.", ".ref."):
        for value in parameters(trainer.model, f"lora_B{part}"):
            value.data.add_(0.5)


def thaw_reference(trainer: Any) -> None:
    parameters(trainer.model, ".ref.")[0].requires_grad_(True)


def lose_reference(trainer: Any) -> None:
    trainer.model.delete_adapter("ref")


@pytest.mark.parametrize("spoil", [shift_reference, shift_both, thaw_reference, lose_reference])
def test_a_wrong_reference_is_found_before_the_first_step(
    tmp_path: Path, base: Path, live: Path, spoil: Callable[[Any], None]
) -> None:
    trainer = prepared_trainer(tmp_path, base, warm_start=str(live))
    spoil(trainer)
    with pytest.raises(ReferenceMismatchError):
        reference.assert_reference(trainer, warm_start=True)


def test_a_policy_that_is_not_the_base_is_found_on_a_fresh_start(
    tmp_path: Path, base: Path
) -> None:
    trainer = prepared_trainer(tmp_path, base)
    for value in parameters(trainer.model, "lora_B.default."):
        value.data.fill_(float("nan"))
    with pytest.raises(ReferenceMismatchError):
        reference.assert_reference(trainer, warm_start=False)
