"""Decides whether a folder holds an adapter that may be served on this base model.

vLLM loads an adapter whose module names do not match without an error and then answers like the
base model (vLLM issue 34186), and a damaged adapter can crash it. Therefore everything is checked
before the adapter is loaded. The check of names may go once vLLM refuses such adapters.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
from adapters.vetting.base_model import MATRIX, BaseModelInfo, is_embedding
from adapters.vetting.folder import FILES, WEIGHTS_FILE, check_folder
from adapters.vetting.foreign_tensors import explain
from adapters.vetting.norms import FLOAT_TYPES, check_update, measure
from adapters.vetting.peft_config import CONFIG_FILE, PeftConfig, parse_tensor_name, read_config
from adapters.vetting.target_modules import BoundedMatcher
from adapters.vetting.weights import FLOATS, Tensor, is_finite, read_tensors

_HEADER_LIMIT = 16 * 1024 * 1024
_CHUNK = 1024 * 1024

Halves = Mapping[str, Tensor]
"""The tensors `A` (rank, inputs) and `B` (outputs, rank) of a module."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    """The sha256 (hex) and the size of a file."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Vetted:
    """An adapter that passed vetting; `declared_base` is the unchecked value of its config."""

    folder: Path
    files: Mapping[str, FileDigest]
    rank: int
    modules: int
    declared_base: str | None


def vet(folder: Path, base: BaseModelInfo, config: AdaptersConfig) -> Vetted:
    """Check the adapter in `folder`; slow for large ones, as it reads every byte.

    Raises only a `VettingError`, which says what is wrong.
    """
    try:
        check_folder(folder)
        files = {name: digest(folder / name, limit=config.max_bytes) for name in FILES}
        peft = read_config(folder)
        halves = _halves(read_tensors(folder / WEIGHTS_FILE, header_limit=_HEADER_LIMIT))
        matcher = BoundedMatcher()
        ranks = [
            _check_module(name, pair, peft, base, matcher) for name, pair in sorted(halves.items())
        ]
        _check_finite(folder / WEIGHTS_FILE, halves)
        _check_sizes(folder / WEIGHTS_FILE, halves, peft, base, config.max_update_ratio)
    except OSError as error:
        raise FolderError(f"the adapter cannot be read ({error.strerror}): look at it") from error
    return Vetted(folder, files, max(ranks), len(halves), peft.base_model_name_or_path)


def digest(path: Path, *, limit: int) -> FileDigest:
    """Return the sha256 and size of the file at `path`; links are not followed.

    Raises `TooLargeError` above `limit` bytes, and `OSError`.
    """
    hasher, size = hashlib.sha256(), 0
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
        while piece := stream.read(_CHUNK):
            hasher.update(piece)
            size += len(piece)
            if size > limit:
                raise TooLargeError(
                    f"{path.name} is larger than {limit} bytes: lower the rank, or raise "
                    "adapters.max_bytes"
                )
    return FileDigest(hasher.hexdigest(), size)


def _halves(tensors: list[Tensor]) -> dict[str, dict[str, Tensor]]:
    """Group the tensors by module; raises for any that is not half of a LoRA module."""
    halves: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for tensor in tensors:
        parsed = parse_tensor_name(tensor.name)
        if parsed is None:
            raise UnsupportedAdapterError(
                f"{WEIGHTS_FILE} holds {_short(tensor.name)}, {explain(tensor.name)}"
            )
        module, half = parsed
        halves[module][half] = tensor
    if not halves:
        raise WeightsFormatError(f"{WEIGHTS_FILE} holds no LoRA weights: save the adapter again")
    return halves


def _check_module(
    name: str, halves: Halves, peft: PeftConfig, base: BaseModelInfo, matcher: BoundedMatcher
) -> int:
    """Check that a module's halves match each other, the config and the base; return its rank."""
    module = _short(name)
    if halves.keys() != {"A", "B"}:
        raise WeightsFormatError(f"{module} lacks lora_A or lora_B: save the adapter again")
    for tensor in halves.values():
        if tensor.dtype not in FLOATS:
            raise WeightsFormatError(f"{module} is {tensor.dtype}: save it as F32, F16 or BF16")
        if len(tensor.shape) != MATRIX or 0 in tensor.shape:
            raise WeightsFormatError(f"{module} is not a matrix: save the adapter again")
    if not peft.targets(name, matcher):
        raise ConfigError(
            f"{CONFIG_FILE} leaves out {module} (target_modules, exclude_modules), of which there "
            "are weights: save the adapter again with PEFT"
        )
    rank = _check_rank(module, halves, peft.rank_of(name, matcher), base.max_rank)
    _check_base(module, name, halves, base)
    return rank


def _check_rank(module: str, halves: Halves, rank: int, max_rank: int) -> int:
    if rank > max_rank:
        raise RankError(
            f"{module} has rank {rank}, the engine takes {max_rank}: train with a lower one, or "
            "start the engine with a higher one"
        )
    if halves["A"].shape[0] != rank or halves["B"].shape[1] != rank:
        raise RankError(f"{module} does not have the rank {rank} of its config: save it again")
    return rank


def _check_base(module: str, name: str, halves: Halves, base: BaseModelInfo) -> None:
    """Check the module against the base model; skipped if the base's modules are unknown."""
    if not base.modules:
        return
    if name not in base.modules and is_embedding(name):
        raise UnsupportedAdapterError(
            f"{module} is an embedding or the head, where adapters are not served: take it out of "
            "target_modules and train again"
        )
    if name not in base.modules:
        raise WrongBaseModelError(
            f"the base model has no linear module {module}: add adapters of {base.name} only"
        )
    shape = (halves["B"].shape[0], halves["A"].shape[1])
    expected = base.modules[name]
    if expected is not None and shape != expected:
        raise WrongBaseModelError(
            f"{module} is {shape[0]} x {shape[1]}, in the base model {expected[0]} x "
            f"{expected[1]}: add adapters of {base.name} only"
        )


def _check_finite(path: Path, halves: Mapping[str, Halves]) -> None:
    for name, pair in halves.items():
        if not all(is_finite(path, tensor) for tensor in pair.values()):
            raise NonFiniteWeightsError(
                f"{_short(name)} holds NaN or infinite weights: train again with a lower rate"
            )


def _check_sizes(
    path: Path,
    halves: Mapping[str, Halves],
    peft: PeftConfig,
    base: BaseModelInfo,
    ratio_max: float,
) -> None:
    """Raise `HugeUpdateError` for finite weights that may make the engine compute NaN."""
    matcher, dtype = BoundedMatcher(), FLOAT_TYPES[base.dtype]
    for name, pair in sorted(halves.items()):
        update = measure(path, pair, peft.scaling_of(name, matcher), dtype)
        norm = base.norms.of(name)
        check_update(_short(name), update, base_norm=norm, dtype=base.dtype, ratio_max=ratio_max)
    base.norms.keep()


def _short(name: str) -> str:
    """Return a tensor's name, escaped and shortened so that it is safe to show."""
    return repr(name[:120])
