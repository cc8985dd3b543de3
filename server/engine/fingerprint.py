"""Which base model this is: adapters trained on another are incompatible.

`base_fingerprint` is the only way from the settings to a fingerprint. The real engine, the fake one
and the command line without a server all use it, so that they agree about what the log holds.
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
"""What the fake engine serves where no model is named."""

_WEIGHTS = (".safetensors", ".bin", ".pt", ".gguf")
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_LENGTH_BYTES = 8
_HEADER_LIMIT = 128 * 1024 * 1024
"""The safetensors library takes no header above 100 MB."""


def _header(file: Path) -> bytes:
    """The header of a safetensors file (length, then JSON with names, types and shapes)."""
    with file.open("rb") as stream:
        length = stream.read(_LENGTH_BYTES)
        size = int.from_bytes(length, "little")
        if size > _HEADER_LIMIT:
            raise EngineStartError(f"{file.name} is not a safetensors file: fetch the model again.")
        return length + stream.read(size)


def _weights(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.iterdir()) if file.suffix in _WEIGHTS)


def model_fingerprint(folder: Path) -> str:
    """sha256 (hex) over `config.json` and each weight file's name, size and safetensors header.

    The weights themselves are not read: that would take minutes for a large model. Raises
    `EngineStartError` when `folder` has no `config.json` or no weights.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise EngineStartError(f"{folder} holds no config.json: name a model folder or a hub id.")
    digest = hashlib.sha256(config.read_bytes())
    files = list(_weights(folder))
    if not files:
        raise EngineStartError(f"{folder} holds no weights: name a complete model folder.")
    for file in files:
        digest.update(f"\0{file.name}\0{file.stat().st_size}\0".encode())
        if file.suffix == ".safetensors":
            digest.update(_header(file))
    return digest.hexdigest()


def stored_model(model: str) -> Path | None:
    """Where `model`'s config lies on this machine; None for a hub id that was not fetched."""
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
    """Where `model`'s files lie: the folder itself, or the hub's snapshot that vLLM has fetched.

    Raises `EngineStartError` where there is neither on this machine.
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
    """Whether `model` has the form of a hub id: `name` or `organisation/name`."""
    return _HUB_ID.fullmatch(model) is not None


def base_fingerprint(config: EngineConfig) -> str:
    """The fingerprint of the base model that `config` serves, without starting an engine.

    Raises `EngineStartError` where the model's files are not on this machine or not whole.
    """
    if config.kind == "fake":
        return hashlib.sha256((config.model or FAKE_MODEL).encode()).hexdigest()
    return model_fingerprint(base_folder(config))


def fingerprint_on_disk(config: EngineConfig) -> str:
    """As `base_fingerprint`; empty where the model's files are not on this machine or not whole."""
    try:
        return base_fingerprint(config)
    except EngineStartError:
        return ""


def base_folder(config: EngineConfig) -> Path:
    """Where the files of the real engine's base model lie. Raises `EngineStartError`."""
    return model_folder(config.model, revision_of(config.extra_args))


def revision_of(extra_args: Sequence[str]) -> str | None:
    """The model's revision among vLLM's further arguments: the last one given, as vLLM takes it."""
    found = None
    for place, argument in enumerate(extra_args):
        name, equals, value = argument.partition("=")
        if name == "--revision":
            found = value if equals else next(iter(extra_args[place + 1 : place + 2]), None)
    return found
