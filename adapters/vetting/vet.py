"""Decides whether a folder holds an adapter that may be served on this base model.

The engine loads an adapter whose names do not match without complaint and answers like the base
model (vLLM #34186), and a damaged one can end it: so all is compared before anything is loaded.
"""

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Mapping
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
from adapters.vetting.base_model import MATRIX, BaseModelInfo
from adapters.vetting.peft_config import CONFIG_FILE, PeftConfig, parse_tensor_name, read_config
from adapters.vetting.weights import FLOATS, Tensor, is_finite, read_tensors

WEIGHTS_FILE = "adapter_model.safetensors"
FILES = (CONFIG_FILE, WEIGHTS_FILE)
"""What an adapter is made of; nothing else of a folder is taken over."""

_DANGEROUS = frozenset(
    {".bin", ".ckpt", ".dill", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"}
    | {".dll", ".dylib", ".py", ".pyc", ".pyd", ".pyo", ".sh", ".so"}
)
"""Files that run code when they are loaded, and that the engine's loader falls back to."""

_ENTRIES_MAX = 1000
_HEADER_LIMIT = 16 * 1024 * 1024
_CHUNK = 1024 * 1024

Halves = Mapping[str, Tensor]
"""The tensors `A` (rank, inputs) and `B` (outputs, rank) of a module."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    """A file's content: sha256 in hex, and its size."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Vetted:
    """An adapter that may be published; `declared_base` is what its config says, unchecked."""

    folder: Path
    files: Mapping[str, FileDigest]
    rank: int
    modules: int
    declared_base: str | None


def vet(folder: Path, base: BaseModelInfo, config: AdaptersConfig) -> Vetted:
    """Look through the adapter in `folder`; slow for large ones (reads every byte).

    Raises a `VettingError` that says what is wrong, and nothing else.
    """
    try:
        _check_folder(folder)
        files = {name: digest(folder / name, limit=config.max_bytes) for name in FILES}
        peft = read_config(folder)
        halves = _halves(read_tensors(folder / WEIGHTS_FILE, header_limit=_HEADER_LIMIT))
        ranks = [_check_module(name, pair, peft, base) for name, pair in sorted(halves.items())]
        _check_finite(folder / WEIGHTS_FILE, halves)
    except OSError as error:
        raise FolderError(f"the adapter cannot be read ({error.strerror}): look at it") from error
    return Vetted(folder, files, max(ranks), len(halves), peft.base_model_name_or_path)


def digest(path: Path, *, limit: int) -> FileDigest:
    """sha256 and size of the file at `path`, which is not followed if it is a link.

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


def _check_folder(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir():
        raise FolderError("an adapter is a folder, not a file or a link: name the folder itself")
    for count, entry in enumerate(_entries(folder)):
        if count >= _ENTRIES_MAX:
            raise FolderError("the folder holds too many files to be an adapter: name another")
        _check_entry(entry)
    for name in FILES:
        if not (folder / name).is_file():
            raise FolderError(f"the folder lacks {name}: save the adapter with PEFT, safetensors")


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Everything below `folder`; links are given, not followed."""
    folders = [str(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)


def _check_entry(entry: os.DirEntry[str]) -> None:
    mode = entry.stat(follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        raise FolderError("the folder holds links: copy it with 'cp -rL' and add the copy")
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise FolderError("the folder holds something that is not a plain file: remove it")
    suffix = Path(entry.name).suffix.lower()
    if suffix in _DANGEROUS:
        raise FolderError(f"the folder holds a {suffix} file: keep safetensors and JSON only")
    if suffix == ".safetensors" and entry.name != WEIGHTS_FILE:
        raise FolderError(f"the folder holds other weights than {WEIGHTS_FILE}: remove them")


def _halves(tensors: list[Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors by module; raises for any that is no half of a LoRA module."""
    halves: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for tensor in tensors:
        parsed = parse_tensor_name(tensor.name)
        if parsed is None:
            raise UnsupportedAdapterError(
                f"{WEIGHTS_FILE} holds {_short(tensor.name)}, not a LoRA weight of a linear "
                "module: train on linear modules only"
            )
        module, half = parsed
        halves[module][half] = tensor
    if not halves:
        raise WeightsFormatError(f"{WEIGHTS_FILE} holds no LoRA weights: save the adapter again")
    return halves


def _check_module(name: str, halves: Halves, peft: PeftConfig, base: BaseModelInfo) -> int:
    """The rank of one module, if its two halves fit each other, the config and the base model."""
    module = _short(name)
    if halves.keys() != {"A", "B"}:
        raise WeightsFormatError(f"{module} lacks lora_A or lora_B: save the adapter again")
    for tensor in halves.values():
        if tensor.dtype not in FLOATS:
            raise WeightsFormatError(f"{module} is {tensor.dtype}: save it as F32, F16 or BF16")
        if len(tensor.shape) != MATRIX or 0 in tensor.shape:
            raise WeightsFormatError(f"{module} is not a matrix: save the adapter again")
    if not peft.targets(name):
        raise ConfigError(f"target_modules of {CONFIG_FILE} leaves out {module}: save it again")
    rank = _check_rank(module, halves, peft.rank_of(name), base.max_rank)
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
    """Modules of an unknown base model are let through: the engine has the last word."""
    if not base.modules:
        return
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


def _short(name: str) -> str:
    """A tensor's name as it can be shown: files hold anything."""
    return repr(name[:120])
