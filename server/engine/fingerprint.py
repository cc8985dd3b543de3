"""The fingerprint of the base model; adapters trained on another base model are incompatible.

The real engine, the fake one and the command line without a server all get the fingerprint from
`base_fingerprint`, so that they agree.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub import snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from server.engine.config import EngineConfig
from server.engine.errors import EngineStartError

FAKE_MODEL = "fake"
"""The model name of a fake engine whose settings name no model."""

_WEIGHTS = (".safetensors", ".bin", ".pt", ".gguf")
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_LENGTH_BYTES = 8
_HEADER_LIMIT = 128 * 1024 * 1024
"""Maximum bytes of a header; the safetensors library accepts no header above 100 MB."""


def _header(file: Path) -> bytes:
    """Return the header of a safetensors file: its length, then JSON with names, types, shapes."""
    with file.open("rb") as stream:
        length = stream.read(_LENGTH_BYTES)
        size = int.from_bytes(length, "little")
        if size > _HEADER_LIMIT:
            raise EngineStartError(f"{file.name} is not a safetensors file: fetch the model again.")
        return length + stream.read(size)


def weight_files(folder: Path) -> Iterator[Path]:
    """Return the files of the model's weights, in order of their names."""
    return (file for file in sorted(folder.iterdir()) if file.suffix in _WEIGHTS)


def model_fingerprint(folder: Path) -> str:
    """Return sha256 (hex) over `config.json` and each weight file's name, size and header.

    The weights themselves are not read, since that would take minutes for a large model. Raises
    `EngineStartError` if `folder` has no `config.json` or no weights.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise EngineStartError(f"{folder} holds no config.json: name a model folder or a hub id.")
    digest = hashlib.sha256(config.read_bytes())
    files = list(weight_files(folder))
    if not files:
        raise EngineStartError(f"{folder} holds no weights: name a complete model folder.")
    for file in files:
        digest.update(f"\0{file.name}\0{file.stat().st_size}\0".encode())
        if file.suffix == ".safetensors":
            digest.update(_header(file))
    return digest.hexdigest()


def stored_model(model: str) -> Path | None:
    """Return the folder of `model`'s config; None for a hub id that was not downloaded."""
    if not model:
        return None
    if Path(model).is_dir():
        return Path(model)
    try:
        config = try_to_load_from_cache(model, "config.json")
    except HFValidationError:  # neither a folder nor a hub id
        return None
    return Path(config).parent if isinstance(config, str) else None


def model_folder(model: str, revision: str | None) -> Path:
    """Return the folder of `model`'s files: itself, or the snapshot that vLLM has downloaded.

    Raises `EngineStartError` if this machine has neither.
    """
    if model and Path(model).is_dir():
        return Path(model)
    try:
        return Path(snapshot_download(model, revision=revision, local_files_only=True))
    except (OSError, HFValidationError) as error:
        raise EngineStartError(
            f"engine.model: {model or 'no model'} is not on this machine: name a folder or a hub "
            "id that has been fetched."
        ) from error


def is_hub_id(model: str) -> bool:
    """Return whether `model` has the form of a hub id: `name` or `organisation/name`."""
    return _HUB_ID.fullmatch(model) is not None


def base_fingerprint(config: EngineConfig) -> str:
    """Return the fingerprint of the base model that `config` serves, without starting an engine.

    Raises `EngineStartError` if the model's files are missing or incomplete on this machine.
    """
    if config.kind == "fake":
        return hashlib.sha256((config.model or FAKE_MODEL).encode()).hexdigest()
    return model_fingerprint(base_folder(config))


def fingerprint_on_disk(config: EngineConfig) -> str:
    """Return `base_fingerprint`, or an empty string if the files are missing or incomplete."""
    try:
        return base_fingerprint(config)
    except EngineStartError:
        return ""


def base_folder(config: EngineConfig) -> Path:
    """Return the folder of the base model's files. Raises `EngineStartError`."""
    return model_folder(config.model, revision_of(config.extra_args))


def revision_of(extra_args: Sequence[str]) -> str | None:
    """Return the model's revision from vLLM's extra arguments; as in vLLM, the last one wins."""
    found = None
    for place, argument in enumerate(extra_args):
        name, equals, value = argument.partition("=")
        if name == "--revision":
            found = value if equals else next(iter(extra_args[place + 1 : place + 2]), None)
    return found
