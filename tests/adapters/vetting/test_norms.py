"""How large an update is, and which ones are refused before anything is loaded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as matrices
from numpy.typing import NDArray

from adapters.config import AdaptersConfig
from adapters.errors import HugeUpdateError
from adapters.vetting.base_model import BaseModelInfo
from adapters.vetting.base_norms import BaseNorms
from adapters.vetting.norms import (
    FLOAT_TYPES,
    UNKNOWN_BASE_OUTPUT,
    Update,
    check_update,
    frobenius,
    measure,
)
from adapters.vetting.vet import vet
from adapters.vetting.weights import read_tensors
from tests.adapters.adapter_files import (
    BASE,
    HIDDEN,
    MODULES,
    Arrays,
    arrays,
    make_adapter,
    safetensors_bytes,
)

Q = "model.layers.0.self_attn.q_proj"
Floats = NDArray[np.float32]
SMALL = st.floats(-4, 4, width=32)


def written(folder: Path, tensors: Arrays) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.safetensors"
    path.write_bytes(safetensors_bytes(tensors))
    return path


def measured(folder: Path, a: Floats, b: Floats, scaling: float, dtype: str = "F32") -> Update:
    path = written(folder, {"A": a, "B": b})
    halves = {tensor.name: tensor for tensor in read_tensors(path)}
    return measure(path, halves, scaling, FLOAT_TYPES[dtype])


def base(folder: Path, *, weight: float = 0.1, dtype: str = "F32") -> BaseModelInfo:
    """A base model whose weights all have the entries `weight`."""
    tensors = {
        f"{name}.weight": np.full(shape, weight, np.float32) for name, shape in MODULES.items()
    }
    written(folder, tensors)
    return BaseModelInfo("tiny", "f" * 64, 8, MODULES, dtype, BaseNorms(folder))


def adapter(folder: Path, a: float = 0.1, b: float = 0.1, **config: Any) -> Path:
    """An adapter whose q_proj has the entries `a` and `b`."""
    tensors = {name: tensor * np.float32(0.01) for name, tensor in arrays().items()}
    tensors[f"base_model.model.{Q}.lora_A.weight"] = np.full((4, HIDDEN), a, np.float32)
    tensors[f"base_model.model.{Q}.lora_B.weight"] = np.full((HIDDEN, 4), b, np.float32)
    return make_adapter(folder, tensors=tensors, config=config)


@given(matrices(np.float32, (2, 5), elements=SMALL), matrices(np.float32, (7, 2), elements=SMALL))
def test_the_norm_is_that_of_the_product(
    tmp_path_factory: pytest.TempPathFactory, a: Floats, b: Floats
) -> None:
    update = measured(tmp_path_factory.mktemp("m"), a, b, -3.0)
    product = -3.0 * b.astype(np.float64) @ a.astype(np.float64)
    assert np.isclose(update.norm, np.linalg.norm(product), rtol=1e-4, atol=1e-4)
    assert np.isclose(update.row, np.linalg.norm(product, axis=1).max(), rtol=1e-4, atol=1e-4)
    assert update.entry == max(np.abs(a).max(), 3 * np.abs(b).max(), 3.0)


def test_halves_that_cancel_each_other_out_count_by_what_rounding_leaves(tmp_path: Path) -> None:
    a = np.array([[1e10, 1e10], [1e10, 1e10]], np.float32)
    b = np.array([[1.0, -1.0]], np.float32)
    assert measured(tmp_path, a, b, 1.0, "BF16").norm > 1e7


@pytest.mark.parametrize("rows", [1, 3_000])
def test_the_base_norm_is_the_same_in_pieces(
    tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.vetting.weights._CHUNK", 100)
    weight = np.random.default_rng(0).normal(size=(rows, 33)).astype(np.float32)
    path = written(tmp_path, {"w": weight})
    assert np.isclose(frobenius(path, read_tensors(path)[0]), np.linalg.norm(weight), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_a_usual_adapter_is_let_in(tmp_path: Path, dtype: str) -> None:
    info = base(tmp_path / "base", dtype=dtype)
    assert vet(adapter(tmp_path / "a"), info, AdaptersConfig()).modules == 2


@pytest.mark.parametrize(
    ("a", "b", "config"),
    [
        (0.1, 0.1, {"lora_alpha": 1e38}),
        (0.1, 0.1, {"lora_alpha": -1e38}),
        (0.1, 0.1, {"lora_alpha": 1e300}),
        (0.1, 0.0, {"lora_alpha": 1e300}),
        (3e38, 3e38, {}),
        (3e38, 0.1, {}),
        (0.1, 3e38, {}),
        (3e38, 3e-38, {}),
        (3e-38, 3e38, {}),
        (1e20, 1e20, {}),
        (10.0, 10.0, {}),
        (0.1, 0.1, {"lora_alpha": 1.0, "alpha_pattern": {"q_proj": 1e38}}),
        (0.1, 0.1, {"lora_alpha": 1.0, "alpha_pattern": {r"self_attn\.\w+": 1e6}}),
        (0.1, 0.1, {"lora_alpha": 1e6, "use_rslora": True}),
    ],
)
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_finite_but_huge_weights_are_refused(
    tmp_path: Path, dtype: str, a: float, b: float, config: dict[str, Any]
) -> None:
    info = base(tmp_path / "base", dtype=dtype)
    with pytest.raises(HugeUpdateError, match="lower learning rate"):
        vet(adapter(tmp_path / "a", a, b, **config), info, AdaptersConfig())


@pytest.mark.parametrize(
    ("a", "b", "config"),
    [
        (0.1, 0.1, {"lora_alpha": 1e38}),
        (3e38, 3e38, {}),
        (3e38, 3e-38, {}),
        (1e10, 1e10, {}),
        (0.1, 0.0, {"lora_alpha": 1e300}),
    ],
)
def test_they_are_refused_where_the_base_weights_are_unknown(
    tmp_path: Path, a: float, b: float, config: dict[str, Any]
) -> None:
    with pytest.raises(HugeUpdateError):
        vet(adapter(tmp_path / "a", a, b, **config), BASE, AdaptersConfig())


def test_rslora_is_scaled_as_the_engine_scales(tmp_path: Path) -> None:
    info, plain = base(tmp_path / "base"), {"lora_alpha": 80.0}
    vet(adapter(tmp_path / "plain", **plain), info, AdaptersConfig())  # 8 times the weight
    with pytest.raises(HugeUpdateError):
        vet(adapter(tmp_path / "rs", use_rslora=True, **plain), info, AdaptersConfig())


def test_the_bound_is_a_setting(tmp_path: Path) -> None:
    info, folder = base(tmp_path / "base"), adapter(tmp_path / "a", 1.0, 1.0)
    with pytest.raises(HugeUpdateError, match=r"80 times .*adapters.max_update_ratio"):
        vet(folder, info, AdaptersConfig())
    assert vet(folder, info, AdaptersConfig(max_update_ratio=81.0)).modules == 2


def test_a_base_weight_of_zeros_does_not_forbid_every_adapter(tmp_path: Path) -> None:
    info = base(tmp_path / "base", weight=0.0)
    assert vet(adapter(tmp_path / "a", 0.01, 0.01), info, AdaptersConfig()).modules == 2


@given(st.floats(0, 1e30), st.floats(1e-3, 1e6), st.floats(0.1, 100))
def test_an_update_is_refused_exactly_above_the_ratio(
    norm: float, base_norm: float, ratio: float
) -> None:
    update = Update(inputs=1, outputs=1, norm=norm, row=0.0, inner=0.0, entry=0.0)
    refused = False
    try:
        check_update("m", update, base_norm=base_norm, dtype="F32", ratio_max=ratio)
    except HugeUpdateError:
        refused = True
    assert refused == (norm / base_norm > ratio)


@pytest.mark.parametrize("field", ["row", "inner", "entry"])
@pytest.mark.parametrize(("dtype", "bound"), [("F16", 65504.0), ("BF16", 3.38e38), ("F32", 3.4e38)])
def test_nothing_may_leave_what_the_engine_computes_in(
    dtype: str, bound: float, field: str
) -> None:
    room = 1.0 if field == "entry" else 1 / 16
    for size, refused in ((0.9, False), (1.1, True)):
        sizes = {"row": 0.0, "inner": 0.0, "entry": 0.0} | {field: bound * room * size}
        update = Update(inputs=1, outputs=1, norm=0.0, **sizes)
        if refused:
            with pytest.raises(HugeUpdateError, match=dtype):
                check_update("m", update, base_norm=1.0, dtype=dtype, ratio_max=10)
        else:
            check_update("m", update, base_norm=1.0, dtype=dtype, ratio_max=10)


def test_an_unknown_base_bounds_the_outputs() -> None:
    edge = UNKNOWN_BASE_OUTPUT / 16
    for norm, refused in ((edge * 0.9, False), (edge * 1.1, True)):
        update = Update(inputs=1, outputs=1, norm=norm, row=0.0, inner=0.0, entry=0.0)
        if refused:
            with pytest.raises(HugeUpdateError, match="any model"):
                check_update("m", update, base_norm=None, dtype="BF16", ratio_max=10)
        else:
            check_update("m", update, base_norm=None, dtype="BF16", ratio_max=10)
