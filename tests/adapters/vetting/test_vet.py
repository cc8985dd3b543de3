"""What is let in and what is not, and that the reason is told."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from adapters.config import AdaptersConfig
from adapters.errors import (
    ConfigError,
    FolderError,
    NonFiniteWeightsError,
    RankError,
    TooLargeError,
    UnsupportedAdapterError,
    WeightsFormatError,
    WrongBaseModelError,
)
from adapters.vetting.vet import Vetted, vet
from tests.adapters.adapter_files import BASE, HIDDEN, Arrays, arrays, make_adapter

CONFIG = AdaptersConfig()
Q = "base_model.model.model.layers.0.self_attn.q_proj"
WEIGHTS = "adapter_model.safetensors"


def vetted(folder: Path) -> Vetted:
    return vet(folder, BASE, CONFIG)


def bfloat16(values: NDArray[Any]) -> NDArray[Any]:
    return (values.astype("<f4").view("<u4") >> 16).astype(np.uint16)


def changed(**changes: NDArray[Any] | None) -> Arrays:
    """The weights with halves of q_proj replaced (None: left out)."""
    made = arrays()
    for half, value in changes.items():
        name = f"{Q}.lora_{half}.weight"
        if value is None:
            del made[name]
        else:
            made[name] = value
    return made


def test_a_plain_adapter_is_let_in(tmp_path: Path) -> None:
    adapter = vetted(make_adapter(tmp_path / "a"))
    assert (adapter.rank, adapter.modules, adapter.declared_base) == (4, 2, "tiny")
    assert set(adapter.files) == {"adapter_config.json", WEIGHTS}


def test_the_training_record_beside_the_adapter_is_no_harm(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a")
    (folder / "training.json").write_text("{}")
    assert vetted(folder).rank == 4


def test_bfloat16_and_float16_are_let_in(tmp_path: Path) -> None:
    half = {name: value.astype(np.float16) for name, value in arrays().items()}
    assert vetted(make_adapter(tmp_path / "f", tensors=half)).rank == 4
    brain = {name: bfloat16(value) for name, value in arrays().items()}
    assert vetted(make_adapter(tmp_path / "b", tensors=brain)).rank == 4


def test_an_untrained_half_of_zeros_is_let_in(tmp_path: Path) -> None:
    tensors = changed(B=np.zeros((HIDDEN, 4), np.float32))
    assert vetted(make_adapter(tmp_path / "a", tensors=tensors)).rank == 4


def test_a_rank_pattern_is_followed(tmp_path: Path) -> None:
    tensors = changed(
        A=np.ones((8, HIDDEN), dtype=np.float32), B=np.ones((HIDDEN, 8), dtype=np.float32)
    )
    config = {"rank_pattern": {"q_proj": 8}}
    assert vetted(make_adapter(tmp_path / "a", tensors=tensors, config=config)).rank == 8


def test_links_are_refused(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a")
    (folder / WEIGHTS).rename(tmp_path / "weights")
    (folder / WEIGHTS).symlink_to(tmp_path / "weights")
    with pytest.raises(FolderError, match="cp -rL"):
        vetted(folder)


def test_a_linked_folder_is_refused(tmp_path: Path) -> None:
    make_adapter(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(FolderError):
        vetted(tmp_path / "link")


@pytest.mark.parametrize("name", ["adapter_config.json", WEIGHTS])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = make_adapter(tmp_path / "a")
    (folder / name).unlink()
    with pytest.raises(FolderError, match=name):
        vetted(folder)


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError):
        vetted(tmp_path / "nothing")


def test_too_many_bytes_are_refused(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a")
    with pytest.raises(TooLargeError, match="lower the rank"):
        vet(folder, BASE, AdaptersConfig(max_bytes=1000))


@pytest.mark.parametrize(
    "config",
    [
        {"peft_type": "LOHA"},
        {"peft_type": None},
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"bias": "all"},
        {"lora_bias": True},
        {"init_lora_weights": "pissa_niter_4"},
        {"trainable_token_indices": [1]},
        {"layer_replication": [[0, 1]]},
        {"megatron_config": {"a": 1}, "megatron_core": "os"},
    ],
)
def test_what_the_engine_does_not_serve_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedAdapterError):
        vetted(make_adapter(tmp_path / "a", config=config))


@pytest.mark.parametrize(
    "config",
    [
        {"r": 0},
        {"r": True},
        {"r": "4"},
        {"r": 2**40},
        {"lora_alpha": None},
        {"lora_alpha": "1e999"},
        {"target_modules": "(a+)+$"},
        {"target_modules": "["},
        {"exclude_modules": r".*up_proj"},
        {"exclude_modules": ["up_proj"]},
        {"target_modules": ["q_proj", 1]},
        {"rank_pattern": {"(": 4}},
        {"rank_pattern": {f"q_proj_{number}": 4 for number in range(451)}},
        {"use_rslora": "yes"},
        {"target_modules": ["q_proj"]},
    ],
)
def test_a_config_that_is_wrong_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"adapter_config\.json"):
        vetted(make_adapter(tmp_path / "a", config=config))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        '{"r": NaN}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "9" * 10_000,
        " " * 2_000_000,
        "\udcff",
    ],
)
def test_a_config_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    folder = make_adapter(tmp_path / "a")
    (folder / "adapter_config.json").write_text(text, errors="surrogateescape")
    with pytest.raises(ConfigError):
        vetted(folder)


def test_a_rank_above_the_engines_is_refused(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a", tensors=arrays(rank=16), config={"r": 16})
    with pytest.raises(RankError, match="rank 16, the engine takes 8"):
        vetted(folder)


@pytest.mark.parametrize(
    "tensors",
    [
        changed(A=np.ones((3, HIDDEN), dtype=np.float32)),
        changed(B=np.ones((HIDDEN, 5), dtype=np.float32)),
    ],
)
def test_a_rank_that_the_weights_do_not_have_is_refused(tmp_path: Path, tensors: Arrays) -> None:
    with pytest.raises(RankError):
        vetted(make_adapter(tmp_path / "a", tensors=tensors))


@pytest.mark.parametrize(
    "tensors",
    [
        changed(A=np.ones((4, HIDDEN + 1), dtype=np.float32)),
        changed(B=np.ones((HIDDEN + 1, 4), dtype=np.float32)),
    ],
)
def test_other_shapes_than_the_base_models_are_refused(tmp_path: Path, tensors: Arrays) -> None:
    with pytest.raises(WrongBaseModelError, match="in the base model 8 x 8"):
        vetted(make_adapter(tmp_path / "a", tensors=tensors))


def test_a_module_that_the_base_model_lacks_is_refused(tmp_path: Path) -> None:
    tensors = {name.replace("layers.0", "layers.7"): value for name, value in arrays().items()}
    with pytest.raises(WrongBaseModelError, match="has no linear module"):
        vetted(make_adapter(tmp_path / "a", tensors=tensors))


@pytest.mark.parametrize("module", ["lm_head", "model.embed_tokens"])
def test_an_adapter_on_the_head_or_an_embedding_is_told_so(tmp_path: Path, module: str) -> None:
    tensors = {name.replace(Q, f"base_model.model.{module}"): v for name, v in arrays().items()}
    config = {"target_modules": [module.rsplit(".", 1)[-1], "up_proj"]}
    folder = make_adapter(tmp_path / "a", tensors=tensors, config=config)
    with pytest.raises(UnsupportedAdapterError, match="take it out of target_modules"):
        vetted(folder)


def test_a_base_model_without_known_modules_leaves_it_to_the_engine(tmp_path: Path) -> None:
    tensors = {name.replace("layers.0", "layers.7"): value for name, value in arrays().items()}
    folder = make_adapter(tmp_path / "a", tensors=tensors)
    assert vet(folder, replace(BASE, modules={}), CONFIG).rank == 4


def test_a_quantised_base_model_is_compared_by_names(tmp_path: Path) -> None:
    quantised = replace(BASE, modules=dict.fromkeys(BASE.modules))
    assert vet(make_adapter(tmp_path / "a"), quantised, CONFIG).rank == 4


@pytest.mark.parametrize("tensors", [changed(A=None), changed(B=None), {}])
def test_a_missing_half_is_refused(tmp_path: Path, tensors: Arrays) -> None:
    with pytest.raises(WeightsFormatError):
        vetted(make_adapter(tmp_path / "a", tensors=tensors))


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.lm_head.weight",
        f"{Q}.lora_magnitude_vector",
        f"{Q}.lora_embedding_A",
        f"{Q}.lora_B.bias",
        f"{Q}.lora_A.default.weight",
        "x" * 10_000,
    ],
)
def test_other_tensors_are_refused(tmp_path: Path, name: str) -> None:
    tensors = arrays() | {name: np.ones((4, 4), dtype=np.float32)}
    with pytest.raises(UnsupportedAdapterError) as caught:
        vetted(make_adapter(tmp_path / "a", tensors=tensors))
    assert len(str(caught.value)) < 450


@pytest.mark.parametrize("dtype", [np.float64, np.int8])
def test_other_types_are_refused(tmp_path: Path, dtype: type[Any]) -> None:
    tensors = changed(A=np.ones((4, HIDDEN), dtype=dtype))
    with pytest.raises(WeightsFormatError, match="F32, F16 or BF16"):
        vetted(make_adapter(tmp_path / "a", tensors=tensors))


@pytest.mark.parametrize("shape", [(4, 1, HIDDEN), (4, 0), (4,)])
def test_what_is_no_matrix_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tensors = changed(A=np.ones(shape, dtype=np.float32))
    with pytest.raises(WeightsFormatError, match="not a matrix"):
        vetted(make_adapter(tmp_path / "a", tensors=tensors))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("cast", [np.float32, np.float16, bfloat16])
def test_nan_and_infinity_are_refused(
    tmp_path: Path, value: float, cast: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    weights = np.ones((HIDDEN, 4), dtype=np.float32)
    weights[-1, -1] = value
    with pytest.raises(NonFiniteWeightsError, match="train again"):
        vetted(make_adapter(tmp_path / "a", tensors=changed(B=cast(weights))))


def test_a_name_that_stands_twice_in_the_header_is_refused(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a")
    entry = '{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}'
    text = f'{{"{Q}.lora_A.weight":{entry},"{Q}.lora_A.weight":{entry}}}'.encode()
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 4)
    with pytest.raises(WeightsFormatError):
        vetted(folder)


def test_a_header_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a")
    (folder / WEIGHTS).write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(WeightsFormatError, match="too large"):
        vetted(folder)


def test_an_unreadable_folder_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_adapter(tmp_path / "a")

    def broken(*_: object, **__: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("adapters.vetting.vet.os.open", broken)
    with pytest.raises(FolderError, match="Input/output error"):
        vetted(folder)


def test_a_config_may_hold_what_peft_adds(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a", config={"task_type": "CAUSAL_LM", "inference_mode": True})
    assert json.loads((folder / "adapter_config.json").read_text())["task_type"] == "CAUSAL_LM"
    assert vetted(folder).rank == 4
