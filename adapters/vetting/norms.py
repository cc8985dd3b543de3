"""Size of an adapter's update of the base model, computed from its files without loading it.

A module's update is s·B·A with s = alpha/r (LoRA, arXiv:2106.09685) or alpha/sqrt(r) (rsLoRA,
arXiv:2312.03732). A finite but huge update makes the engine compute NaN, which stays in KV cache
blocks that requests of other users reuse. Norms are Frobenius norms in float64. B·A, as large as
the base weight, is never computed: ‖B·A‖² = Σᵢⱼ (BᵀB)ᵢⱼ (A·Aᵀ)ᵢⱼ, and both factors are (r, r).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.errors import HugeUpdateError
from adapters.vetting.weights import Tensor, rows

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FloatType:
    """A float type of the engine: its largest value and its relative rounding error."""

    largest: float
    epsilon: float


FLOAT_TYPES: Mapping[str, FloatType] = {
    "F32": FloatType(3.4028234663852886e38, 2**-24),
    "F16": FloatType(65504.0, 2**-11),
    "BF16": FloatType(3.3895313892515355e38, 2**-8),
}
"""Float types by their names in safetensors.
https://en.wikipedia.org/wiki/Bfloat16_floating-point_format"""

INPUT_RMS = 16.0
"""Root mean square of a module's input for which the update must not overflow. After a
normalisation layer it is about 1; some models amplify it."""

UNKNOWN_BASE_OUTPUT = FLOAT_TYPES["F32"].largest ** (1 / 6)
"""Largest allowed output of an update if the base weights are unknown: 2.6 million. An MLP
multiplies two outputs, a third module multiplies the product, and the following normalisation
squares the result in F32, so the sixth root of the largest F32 is the limit."""

FLOOR_RMS = 1e-3
"""Lower bound on the root mean square of a base weight's entries in the comparison, because some
models have modules of zeros (added or pruned layers). Usual weights have 0.005 to 0.1."""


@dataclass(frozen=True, slots=True)
class Update:
    """Size of an adapter's update of one module. All values may be infinite.

    Attributes:
        inputs: Columns of A.
        outputs: Rows of B.
        norm: ‖s·B·A‖, including what rounding may add.
        row: Largest norm of a row of s·B·A: the largest output for an input of norm 1.
        inner: Largest norm of a row of A.
        entry: Largest absolute value that the engine stores, of A, B, s·B and s.

    """

    inputs: int
    outputs: int
    norm: float
    row: float
    inner: float
    entry: float


def measure(path: Path, halves: Mapping[str, Tensor], scaling: float, dtype: FloatType) -> Update:
    """Measure the update of the module with the tensors `A` (r, inputs) and `B` (outputs, r).

    The rounding error is taken relative to ‖B‖·‖A‖, since terms that cancel out in float64 need not
    cancel in the engine's `dtype`.
    """
    size = abs(scaling)
    a, b = halves["A"], halves["B"]
    gram, a_largest, inner = _gram_of_rows(path, a)
    noise = dtype.epsilon * math.sqrt(float(np.trace(gram)))
    squares = row = b_largest = 0.0
    for piece in rows(path, b):
        lengths = np.sqrt(np.maximum(np.einsum("ij,ij->i", piece @ gram, piece), 0.0))
        lengths = lengths + noise * np.sqrt(np.square(piece).sum(axis=1))
        squares += float(np.square(lengths).sum())
        row = max(row, float(lengths.max(initial=0.0)))
        b_largest = max(b_largest, float(np.abs(piece).max(initial=0.0)))
    return Update(
        inputs=a.shape[1],
        outputs=b.shape[0],
        norm=size * math.sqrt(squares),
        row=size * row,
        inner=inner,
        entry=max(a_largest, b_largest, size, size * b_largest),
    )


def _gram_of_rows(path: Path, a: Tensor) -> tuple[Matrix, float, float]:
    """Return A·Aᵀ (r, r), the largest absolute entry of A, and the largest norm of a row of A."""
    whole = np.concatenate(list(rows(path, a)))
    gram = whole @ whole.T
    largest = float(np.abs(whole).max(initial=0.0))
    return gram, largest, math.sqrt(float(np.diagonal(gram).max(initial=0.0)))


def frobenius(path: Path, tensor: Tensor) -> float:
    """Return the Frobenius norm of the matrix `tensor` in `path`."""
    return math.sqrt(sum(float(np.vdot(piece, piece)) for piece in rows(path, tensor)))


def check_update(
    module: str, update: Update, *, base_norm: float | None, dtype: str, ratio_max: float
) -> None:
    """Raise `HugeUpdateError` for an update that may overflow or make the engine compute NaN.

    Args:
        module: The module's name, safe to show.
        update: Its update.
        base_norm: ‖W‖ of the base model's weight, or None if unknown.
        dtype: The type that the engine computes in, a key of `FLOAT_TYPES`.
        ratio_max: Largest allowed ‖s·B·A‖ / ‖W‖.

    """
    largest = FLOAT_TYPES[dtype].largest
    reach = INPUT_RMS * math.sqrt(update.inputs)
    if update.entry > largest or max(update.inner, update.row) * reach > largest:
        raise HugeUpdateError(module, f"more than {dtype} can hold, in which the engine computes")
    if base_norm is None:
        if update.norm * reach > UNKNOWN_BASE_OUTPUT:
            raise HugeUpdateError(
                module, f"outputs of up to {update.norm * reach:.1e}, more than any model survives"
            )
        return
    ratio = update.norm / max(base_norm, FLOOR_RMS * math.sqrt(update.inputs * update.outputs))
    if ratio > ratio_max:
        raise HugeUpdateError(
            module,
            f"{ratio:.3g} times the base model's own weight "
            f"(at most {ratio_max:g}, adapters.max_update_ratio)",
        )
