"""Reads safetensors files without a tensor library: headers, weights, checks for NaN.

Format: the header's length (8 bytes, little-endian), the header (JSON), the tensors' data.
https://huggingface.co/docs/safetensors
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from adapters.errors import WeightsFormatError

_LENGTH_BYTES = 8
HEADER_LIMIT = 100 * 1000 * 1000
"""Largest header in bytes that the safetensors library accepts."""

_EXPONENTS = {"F32": ("<u4", 0x7F800000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80)}
"""For each float type, the numpy dtype of its bits, and the mask of its exponent, whose bits are
all set only in NaN and infinity."""

FLOATS = frozenset(_EXPONENTS)
_CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of the header. `begin` and `end` are byte offsets in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_tensors(path: Path, *, header_limit: int = HEADER_LIMIT) -> list[Tensor]:
    """Return the tensors of the file `path`, in the header's order, without reading weights.

    The safetensors library validates the header first (offsets, overlaps, sizes). Raises
    `WeightsFormatError` if it is not a valid safetensors file, and `OSError`.
    """
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if length > header_limit:
            raise WeightsFormatError(f"{path.name} has a header that is too large: save it again")
        raw = stream.read(length)
    _check_header(path)
    return [_tensor(*entry, _LENGTH_BYTES + length) for entry in _entries(path, raw)]


def is_finite(path: Path, tensor: Tensor) -> bool:
    """Return whether all values of a float `tensor` in `path` are finite; reads it in pieces."""
    view, exponent = _EXPONENTS[tensor.dtype]
    count = (tensor.end - tensor.begin) // np.dtype(view).itemsize
    if count == 0:
        return True
    bits = np.memmap(path, dtype=view, mode="r", offset=tensor.begin, shape=(count,))
    pieces = (bits[at : at + _CHUNK] for at in range(0, count, _CHUNK))
    return not any(bool(((piece & exponent) == exponent).any()) for piece in pieces)


def rows(path: Path, tensor: Tensor) -> Iterator[NDArray[np.float64]]:
    """Yield the rows of a float matrix in `path` as float64 blocks of shape (rows, columns).

    `tensor` is (rows, columns) in F32, F16 or BF16. A block has at most 4 million values or one
    row, so that the largest matrix takes little memory.
    """
    height, width = tensor.shape
    step = max(1, _CHUNK // max(1, width))
    view, _ = _EXPONENTS[tensor.dtype]
    if height == 0 or width == 0:
        return
    bits = np.memmap(path, dtype=view, mode="r", offset=tensor.begin, shape=(height, width))
    for at in range(0, height, step):
        yield _floats(np.asarray(bits[at : at + step]), tensor.dtype)


def _floats(bits: NDArray[Any], dtype: str) -> NDArray[np.float64]:
    """Convert the bits of a float type to float64."""
    if dtype == "BF16":  # the upper half of an F32
        return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return bits.view(np.float16 if dtype == "F16" else np.float32).astype(np.float64)


def _check_header(path: Path) -> None:
    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        message = f"{path.name} is not a whole safetensors file ({error}): save it again"
        raise WeightsFormatError(message) from error


def _entries(path: Path, raw: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        header = json.loads(raw, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise WeightsFormatError(f"{path.name} has an unreadable header: save it again") from error
    return ((name, entry) for name, entry in header.items() if name != "__metadata__")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse duplicate names: two readers could see different tensors."""
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name stands twice")
    return names


def _tensor(name: str, entry: dict[str, Any], start: int) -> Tensor:
    begin, end = entry["data_offsets"]
    return Tensor(name, entry["dtype"], tuple(entry["shape"]), start + begin, start + end)
