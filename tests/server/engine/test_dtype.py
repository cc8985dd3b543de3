"""What `engine.dtype = "auto"` means: it depends on the processor."""

import json
from pathlib import Path

import pytest

from server.engine.config import EngineConfig
from server.engine.dtype import (
    Processor,
    StoredWeights,
    choose_dtype,
    stored_weights,
    this_processor,
)

GIB = 2**30
OLD = Processor(frozenset({"avx2", "avx512f"}), 24 * GIB)
SMALL = StoredWeights("bfloat16", GIB)


def chosen(processor: Processor, stored: StoredWeights | None = SMALL, *, cpu: bool = True) -> str:
    return choose_dtype("auto", cpu=cpu, processor=processor, stored=stored).dtype


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_processor_without_bfloat16_takes_float32(dtype: str) -> None:
    assert chosen(OLD, StoredWeights(dtype, GIB)) == "float32"


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16", "bf16"])
def test_a_processor_with_bfloat16_takes_the_models_type(flag: str) -> None:
    assert chosen(Processor(frozenset({flag, "avx2"}), 24 * GIB)) == "auto"


def test_a_gpu_takes_the_models_type() -> None:
    assert chosen(OLD, cpu=False) == "auto"


def test_float16_and_an_unknown_model_are_left_to_vllm() -> None:
    assert chosen(OLD, StoredWeights("float16", GIB)) == "auto"
    assert chosen(OLD, None) == "auto"


def test_a_machine_that_names_no_features_keeps_the_models_type() -> None:
    assert chosen(Processor(frozenset(), 24 * GIB)) == "auto"


def test_weights_that_would_fill_half_of_the_memory_stay_bfloat16() -> None:
    choice = choose_dtype(
        "auto", cpu=True, processor=OLD, stored=StoredWeights("bfloat16", 8 * GIB)
    )
    assert choice.dtype == "bfloat16"
    assert "16.0 GiB" in choice.reason


def test_a_named_type_is_kept() -> None:
    assert choose_dtype("bfloat16", cpu=True, processor=OLD, stored=SMALL).dtype == "bfloat16"


def test_the_stored_type_and_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"torch_dtype": "bfloat16"}))
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    found = stored_weights(EngineConfig(model=str(tmp_path)))
    assert found == StoredWeights("bfloat16", 5)


def test_a_model_that_is_not_here_has_no_stored_type(tmp_path: Path) -> None:
    assert stored_weights(EngineConfig(model=str(tmp_path / "none"))) is None


def test_this_machine_has_memory() -> None:
    assert this_processor().memory > GIB / 4
