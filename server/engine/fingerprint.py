"""Which base model this is: adapters trained on another are incompatible."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import snapshot_download

from server.engine.errors import EngineStartError

_WEIGHTS = (".safetensors", ".bin", ".pt", ".gguf")
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


def model_folder(model: str, revision: str | None) -> Path:
    """Where `model`'s files lie: the folder itself, or the hub's snapshot that vLLM has fetched."""
    if Path(model).is_dir():
        return Path(model)
    return Path(snapshot_download(model, revision=revision, local_files_only=True))
