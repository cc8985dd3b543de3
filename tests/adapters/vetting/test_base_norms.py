"""The sizes of the base weights: read shard by shard, once, and kept for the next start."""

import json
from pathlib import Path

import numpy as np
import pytest

from adapters.vetting.base_norms import UNKNOWN, BaseNorms
from tests.adapters.adapter_files import Arrays, safetensors_bytes

Q, UP = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"


def shard(folder: Path, name: str, tensors: Arrays) -> None:
    (folder / f"{name}.safetensors").write_bytes(safetensors_bytes(tensors))


def two_shards(folder: Path) -> None:
    shard(folder, "model-00001-of-00002", {f"{Q}.weight": np.full((2, 8), 3.0, np.float32)})
    shard(folder, "model-00002-of-00002", {f"{UP}.weight": np.full((4, 1), 0.5, np.float16)})


def test_each_weight_is_found_in_its_shard(tmp_path: Path) -> None:
    two_shards(tmp_path)
    norms = BaseNorms(tmp_path)
    assert (norms.of(Q), norms.of(UP)) == (12.0, 1.0)


def test_what_the_files_do_not_tell_is_unknown(tmp_path: Path) -> None:
    shard(tmp_path, "model", {f"{Q}.weight": np.ones((2, 2), np.int8)})
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    norms = BaseNorms(tmp_path)
    assert (norms.of(Q), norms.of(UP), UNKNOWN.of(Q)) == (None, None, None)


def test_a_module_may_have_another_name_in_the_files(tmp_path: Path) -> None:
    two_shards(tmp_path)
    assert BaseNorms(tmp_path, tensors={"loaded.q_proj": f"{Q}.weight"}).of("loaded.q_proj") == 12.0


def test_a_weight_is_read_once(tmp_path: Path) -> None:
    two_shards(tmp_path)
    memory = tmp_path / "norms.json"
    norms = BaseNorms(tmp_path, "f", memory)
    norms.of(Q)
    norms.keep()
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    assert norms.of(Q) == 12.0
    assert BaseNorms(tmp_path, "f", memory).of(Q) == 12.0


def test_what_was_kept_of_another_base_model_is_not_used(tmp_path: Path) -> None:
    memory = tmp_path / "norms.json"
    memory.write_text(json.dumps({"fingerprint": "other", "norms": {Q: 1.0}}))
    assert BaseNorms(tmp_path, "f", memory).of(Q) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"fingerprint": "f", "norms": [1]}', "\x00"])
def test_a_damaged_file_is_computed_anew(tmp_path: Path, text: str) -> None:
    two_shards(tmp_path)
    memory = tmp_path / "norms.json"
    memory.write_text(text)
    assert BaseNorms(tmp_path, "f", memory).of(Q) == 12.0


def test_a_place_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    two_shards(tmp_path)
    norms = BaseNorms(tmp_path, "f", tmp_path / "missing" / "norms.json")
    norms.of(Q)
    norms.keep()
    assert norms.of(Q) == 12.0
