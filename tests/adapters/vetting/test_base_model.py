"""The base model's modules, read from the headers of its files."""

from pathlib import Path

import numpy as np
import pytest

from adapters.errors import WeightsFormatError
from adapters.vetting.base_model import read_modules
from tests.adapters.adapter_files import safetensors_bytes


def test_linear_modules_of_all_shards_are_found_with_their_shapes(tmp_path: Path) -> None:
    first = {
        "model.layers.0.mlp.up_proj.weight": np.ones((12, 8), dtype=np.float32),
        "model.layers.0.input_layernorm.weight": np.ones(8, dtype=np.float32),
        "model.layers.0.mlp.up_proj.bias": np.ones(12, dtype=np.float32),
    }
    second = {"model.layers.1.mlp.up_proj.weight": np.ones((12, 8), dtype=np.uint16)}
    (tmp_path / "model-1.safetensors").write_bytes(safetensors_bytes(first))
    (tmp_path / "model-2.safetensors").write_bytes(safetensors_bytes(second))
    assert read_modules(tmp_path) == {
        "model.layers.0.mlp.up_proj": (12, 8),
        "model.layers.1.mlp.up_proj": (12, 8),
    }


def test_embeddings_and_the_head_are_left_out(tmp_path: Path) -> None:
    tensors = {
        "model.embed_tokens.weight": np.ones((12, 8), dtype=np.float32),
        "lm_head.weight": np.ones((12, 8), dtype=np.float32),
    }
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    assert read_modules(tmp_path) == {}


def test_packed_weights_give_names_without_shapes(tmp_path: Path) -> None:
    tensors = {
        "model.layers.0.q_proj.qweight": np.ones((8, 1), dtype=np.int8),
        "model.layers.0.k_proj.weight": np.ones((8, 1), dtype=np.int8),
    }
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    modules = read_modules(tmp_path)
    assert modules == dict.fromkeys(["model.layers.0.q_proj", "model.layers.0.k_proj"])


def test_a_folder_without_safetensors_tells_nothing(tmp_path: Path) -> None:
    assert read_modules(tmp_path) == {}


def test_a_broken_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(WeightsFormatError):
        read_modules(tmp_path)
