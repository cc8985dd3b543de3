"""The files of versions: `<root>/<channel>/<version>/`, written once, checked before each load.

A version appears by one rename, with all its files synced and the manifest written last. Names that
begin with a dot are work in progress and are removed at start.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from adapters.base_model import BaseModelInfo
from adapters.errors import ArtifactError, CorruptArtifactError, FolderError
from adapters.models import Version
from adapters.names import is_channel, is_version
from adapters.vetting import FileDigest, Vetted, digest

MANIFEST_FILE = "manifest.json"
_LIMIT_BYTES = 1024 * 1024
_READ_ONLY = 0o444
_CHUNK = 1024 * 1024


class Manifest(BaseModel):
    """`manifest.json`: what a version is made of. `digest` identifies the content."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    version: str
    channel: str
    base_model: str
    base_fingerprint: str
    declared_base: str | None
    rank: int
    digest: str
    files: dict[str, FileDigest]


def content_digest(channel: str, fingerprint: str, files: Mapping[str, FileDigest]) -> str:
    """sha256 (hex) over the channel, the base model's fingerprint and the files' own digests."""
    content = {name: [file.sha256, file.size_bytes] for name, file in files.items()}
    text = json.dumps([channel, fingerprint, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def manifest_of(vetted: Vetted, base: BaseModelInfo, *, channel: str, version: str) -> Manifest:
    """The manifest of a vetted adapter under the name `version`."""
    return Manifest(
        version=version,
        channel=channel,
        base_model=base.name,
        base_fingerprint=base.fingerprint,
        declared_base=vetted.declared_base,
        rank=vetted.rank,
        digest=content_digest(channel, base.fingerprint, vetted.files),
        files=dict(vetted.files),
    )


class ArtifactStore:
    """Every method works on the disk and blocks; call them in a thread."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def path(self, version: Version) -> Path:
        """The folder that the engine loads `version` from."""
        return self._root / version.folder

    def publish(self, folder: Path, manifest: Manifest) -> str:
        """Copy the vetted files of `folder` to their place; the place, relative to the root.

        No version may have the manifest's name yet. What lies at its place all the same (a crash
        before it was registered) is kept if it is whole, else replaced. Raises `FolderError` when
        the files changed since they were vetted, else `ArtifactError`; then nothing is left behind.
        """
        place = _place(manifest)
        temporary = self._root / manifest.channel / f".adding-{secrets.token_hex(8)}"
        try:
            if self._holds(place, manifest):
                return place
            _make_folders(temporary.parent)
            temporary.mkdir()
            _fill(temporary, folder, manifest)
            temporary.rename(self._root / place)
            _sync(temporary.parent)
        except OSError as error:
            raise ArtifactError(
                f"the adapter could not be stored ({error.strerror}): look at the disk, then add "
                "it again"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return place

    def verify(self, version: Version) -> None:
        """Hash the files of `version` again.

        Raises `CorruptArtifactError` when they are not what was registered, `ArtifactError` when
        the disk does not give them.
        """
        try:
            self._check(version.folder, version.name, version.digest)
        except FileNotFoundError as error:
            raise CorruptArtifactError(version.name, "a file is missing") from error
        except OSError as error:
            raise ArtifactError(
                f"the files of {version.name} cannot be read ({error.strerror}): look at the disk"
            ) from error

    def exists(self, version: Version) -> bool:
        """Whether the folder of `version` is there."""
        return self.path(version).is_dir()

    def remove(self, version: Version) -> None:
        """Remove the files of `version` for good; raises `OSError`."""
        _remove(self.path(version))

    def clear_leftovers(self) -> int:
        """Remove what a crash left unfinished; how many folders that was."""
        leftovers = [path for path in self._folders() if path.name.startswith(".")]
        for path in leftovers:
            shutil.rmtree(path)
        return len(leftovers)

    def _folders(self) -> Iterator[Path]:
        if not self._root.is_dir():
            return iter(())
        channels = [path for path in self._root.iterdir() if is_channel(path.name)]
        return (path for channel in channels for path in channel.iterdir())

    def _holds(self, place: str, manifest: Manifest) -> bool:
        """Whether `place` holds that very content; anything else is cleared from there."""
        path = self._root / place
        if not path.exists():
            return False
        try:
            self._check(place, manifest.version, manifest.digest)
        except (CorruptArtifactError, FileNotFoundError):
            _remove(path)
            return False
        return True

    def _check(self, place: str, version: str, expected: str) -> None:
        manifest = _read_manifest(self._root / place / MANIFEST_FILE, version)
        found = {
            name: digest(self._root / place / name, limit=file.size_bytes)
            for name, file in _sized(self._root / place, manifest, version)
        }
        actual = content_digest(manifest.channel, manifest.base_fingerprint, found)
        if actual != expected or manifest.digest != expected or manifest.version != version:
            raise CorruptArtifactError(version, "the checksums differ")


def _sized(folder: Path, manifest: Manifest, version: str) -> Iterator[tuple[str, FileDigest]]:
    """The manifest's files, once the folder is seen to hold just these, at their sizes."""
    names = {entry.name for entry in folder.iterdir()} - {MANIFEST_FILE}
    if names != manifest.files.keys():
        raise CorruptArtifactError(version, "a file is missing or too many")
    for name, file in manifest.files.items():
        if (folder / name).lstat().st_size != file.size_bytes:
            raise CorruptArtifactError(version, f"{name} has another size")
        yield name, file


def _read_manifest(path: Path, version: str) -> Manifest:
    with path.open("rb") as stream:
        raw = stream.read(_LIMIT_BYTES)
    try:
        return Manifest.model_validate_json(raw)
    except ValidationError as error:
        raise CorruptArtifactError(version, "its manifest is unreadable") from error


def _place(manifest: Manifest) -> str:
    """Names come from the server; that none leads elsewhere is checked all the same."""
    if not (is_channel(manifest.channel) and is_version(manifest.version)):
        raise ArtifactError("a channel or version has an impossible name: nothing was written")
    return f"{manifest.channel}/{manifest.version}"


def _fill(temporary: Path, folder: Path, manifest: Manifest) -> None:
    for name, expected in manifest.files.items():
        _copy(folder / name, temporary / name)
        copied = temporary / name
        size = copied.stat().st_size
        if size != expected.size_bytes or digest(copied, limit=size) != expected:
            raise FolderError(f"{name} changed while it was added: add it again")
    _write(temporary / MANIFEST_FILE, manifest.model_dump_json(indent=2).encode() + b"\n")
    _sync(temporary)


def _copy(source: Path, target: Path) -> None:
    with os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
        with target.open("xb") as copy:
            shutil.copyfileobj(stream, copy, _CHUNK)
        _sync(target)
    target.chmod(_READ_ONLY)


def _write(target: Path, content: bytes) -> None:
    target.write_bytes(content)
    _sync(target)
    target.chmod(_READ_ONLY)


def _make_folders(folder: Path) -> None:
    """Create `folder` and what is missing above it, each durable in its parent."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _sync(path.parent)


def _remove(place: Path) -> None:
    """Out of sight by one rename, so that no half of it can be taken for a version."""
    gone = place.with_name(f".removing-{secrets.token_hex(8)}")
    place.rename(gone)
    _sync(place.parent)
    shutil.rmtree(gone)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
