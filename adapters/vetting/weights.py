"""Reads safetensors files without a tensor library: names, types, shapes, NaN and infinity.

The format: eight bytes with the header's length (little-endian), the header (JSON), the tensors.
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
"""The largest header that the safetensors library itself takes."""

_EXPONENTS = {"F32": ("<u4", 0x7F800000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80)}
"""How to view a float's bits, and the exponent bits that are all set in NaN and infinity only."""

FLOATS = frozenset(_EXPONENTS)
_CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of the header. `begin` and `end` are bytes from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_tensors(path: Path, *, header_limit: int = HEADER_LIMIT) -> list[Tensor]:
    """The tensors in `path`, in the header's order; reads no weights.

    The safetensors library judges the header first (offsets, overlaps, sizes). Raises
    `WeightsFormatError` for what is not a safetensors file, and `OSError`.
    """
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if length > header_limit:
            raise WeightsFormatError(f"{path.name} has a header that is too large: save it again")
        raw = stream.read(length)
    _judge(path)
    return [_tensor(*entry, _LENGTH_BYTES + length) for entry in _entries(path, raw)]


def is_finite(path: Path, tensor: Tensor) -> bool:
    """Whether no value of a float `tensor` in `path` is NaN or infinite; reads it in pieces."""
    view, exponent = _EXPONENTS[tensor.dtype]
    count = (tensor.end - tensor.begin) // np.dtype(view).itemsize
    if count == 0:
        return True
    bits = np.memmap(path, dtype=view, mode="r", offset=tensor.begin, shape=(count,))
    pieces = (bits[at : at + _CHUNK] for at in range(0, count, _CHUNK))
    return not any(bool(((piece & exponent) == exponent).any()) for piece in pieces)


def rows(path: Path, tensor: Tensor) -> Iterator[NDArray[np.float64]]:
    """The rows of a matrix of floats in `path`, a few at a time, (rows, columns) each.

    `tensor` is (rows, columns) in F32, F16 or BF16. Of 4 million values or one row at a time, so
    that the largest matrix takes little memory.
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
    """What the bits of a float type stand for."""
    if dtype == "BF16":  # the upper half of an F32
        return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return bits.view(np.float16 if dtype == "F16" else np.float32).astype(np.float64)


def _judge(path: Path) -> None:
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
    """Two readers of a header with a name twice may see different tensors."""
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name stands twice")
    return names


def _tensor(name: str, entry: dict[str, Any], start: int) -> Tensor:
    begin, end = entry["data_offsets"]
    return Tensor(name, entry["dtype"], tuple(entry["shape"]), start + begin, start + end)
