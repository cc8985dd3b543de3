"""The files of versions on a disk: `<root>/<channel>/<version>/`, written once, never changed.

A version appears by one rename, after all its files are synced and the manifest is written. Folders
whose name begins with a dot are work in progress and are deleted at the next start. Where several
servers share the root, the name of such a folder contains the id of the server that works on it.
"""

import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from adapters.errors import ArtifactError, CorruptArtifactError, FolderError, StoreAwayError
from adapters.models import Version
from adapters.names import is_channel
from adapters.store.manifest import (
    MANIFEST_FILE,
    MANIFEST_LIMIT_BYTES,
    Manifest,
    content_digest,
    parse_manifest,
    place_of,
)
from adapters.vetting.vet import FileDigest, digest
from common.files import sync

_READ_ONLY = 0o400
_CHUNK = 1024 * 1024

LEFTOVER_SECONDS = 24 * 60 * 60.0
"""Seconds without a change after which another server's work in progress counts as abandoned."""

Fill = Callable[[Path], None]
"""Writes a version's files, synced to disk, into the given folder."""


class ArtifactStore:
    """Artifact store in a folder. Every method blocks; call them in a thread.

    `owner` identifies this server (letters and digits only) among those that share the folder; None
    if no other server uses it.
    """

    def __init__(self, root: Path, owner: str | None = None) -> None:
        self._root = root.absolute()
        self._owner = owner

    def path(self, version: Version) -> Path:
        """Return the folder that the engine loads `version` from."""
        return self.folder(version.folder)

    def folder(self, place: str) -> Path:
        """Return the absolute path of `place`, which is relative to the root."""
        return self._root / place

    def publish(self, folder: Path, manifest: Manifest) -> str:
        """Copy the vetted files of `folder` into the store; return the path relative to the root.

        No version may be registered under the manifest's name yet. If the path exists nevertheless
        (a crash before registration, or another server publishing the same), it is kept if it is
        complete, else replaced. Raises `FolderError` if the files changed since they were vetted,
        else `ArtifactError`; then no files remain.
        """
        return self.put(manifest, lambda draft: _copy_all(folder, draft, manifest))

    def put(self, manifest: Manifest, fill: Fill) -> str:
        """As `publish`, with the files that `fill` writes; also raises what `fill` raises."""
        place = place_of(manifest)
        draft = self._root / manifest.channel / self._hidden("adding")
        try:
            if self._holds(place, manifest):
                return place
            _make_folders(draft.parent)
            draft.mkdir()
            fill(draft)
            _seal(draft, manifest)
            self._reveal(draft, place, manifest)
            sync(draft.parent)
        except OSError as error:
            raise ArtifactError(
                f"the adapter could not be stored ({error.strerror}): look at the disk, then add "
                "it again"
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return place

    def verify(self, version: Version) -> None:
        """Compare the hashes of the files of `version` with the registered ones.

        Raises `CorruptArtifactError` if they differ, `ArtifactError` if the disk cannot be read,
        and its subclass `StoreAwayError` if a shared folder holds no version at all.
        """
        try:
            self._check(version.folder, version.name, version.digest)
        except FileNotFoundError as error:
            if self._owner is not None and next(self._folders(), None) is None:
                raise StoreAwayError from error
            raise CorruptArtifactError(version.name, "a file is missing") from error
        except OSError as error:
            raise ArtifactError(
                f"the files of {version.name} cannot be read ({error.strerror}): look at the disk"
            ) from error

    def exists(self, version: Version) -> bool:
        """Return whether the folder of `version` exists."""
        return self.path(version).is_dir()

    def remove(self, version: Version) -> None:
        """Delete the files of `version`. Raises `OSError`."""
        self._remove(self.path(version))

    def clear_leftovers(self) -> int:
        """Delete unfinished work that a crash left; return the number of folders.

        Other servers' work in a shared folder is deleted only if it counts as abandoned.
        """
        leftovers = [path for path in self._folders() if self._left_behind(path)]
        for path in leftovers:
            shutil.rmtree(path, ignore_errors=self._owner is not None)
        return len(leftovers)

    def _hidden(self, work: str) -> str:
        owner = "" if self._owner is None else f"{self._owner}-"
        return f".{work}-{owner}{secrets.token_hex(8)}"

    def _left_behind(self, path: Path) -> bool:
        """Whether `path` is unfinished work of this server, or abandoned work of another."""
        if not path.name.startswith("."):
            return False
        if self._owner is None or f"-{self._owner}-" in path.name:
            return True
        try:
            return time.time() - path.lstat().st_mtime > LEFTOVER_SECONDS
        except FileNotFoundError:
            return False  # its owner has just finished it

    def _reveal(self, draft: Path, place: str, manifest: Manifest) -> None:
        """Rename the draft to its place, unless another server has just published the same."""
        try:
            draft.rename(self._root / place)
        except OSError as error:
            taken = error.errno in (errno.ENOTEMPTY, errno.EEXIST)
            if not (taken and self._holds(place, manifest)):
                raise

    def _remove(self, place: Path) -> None:
        """Delete a folder; rename it first, so that no part of it can be mistaken for a version."""
        gone = place.with_name(self._hidden("removing"))
        try:
            place.rename(gone)
        except FileNotFoundError:
            return  # another server was faster
        sync(place.parent)
        shutil.rmtree(gone)

    def _folders(self) -> Iterator[Path]:
        if not self._root.is_dir():
            return iter(())
        channels = [path for path in self._root.iterdir() if is_channel(path.name)]
        return (path for channel in channels for path in channel.iterdir())

    def _holds(self, place: str, manifest: Manifest) -> bool:
        """Whether `place` holds exactly the content of `manifest`; any other content is deleted."""
        path = self._root / place
        if not path.exists():
            return False
        try:
            self._check(place, manifest.version, manifest.digest)
        except (CorruptArtifactError, FileNotFoundError):
            self._remove(path)
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
    """Yield the manifest's files after checking that the folder holds exactly these, by size."""
    names = {entry.name for entry in folder.iterdir()} - {MANIFEST_FILE}
    if names != manifest.files.keys():
        raise CorruptArtifactError(version, "a file is missing or too many")
    for name, file in manifest.files.items():
        if (folder / name).lstat().st_size != file.size_bytes:
            raise CorruptArtifactError(version, f"{name} has another size")
        yield name, file


def _read_manifest(path: Path, version: str) -> Manifest:
    with path.open("rb") as stream:
        return parse_manifest(stream.read(MANIFEST_LIMIT_BYTES), version)


def _copy_all(folder: Path, draft: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        _copy(folder / name, draft / name)


def _seal(draft: Path, manifest: Manifest) -> None:
    """Check the files against the manifest, then write it."""
    for name, expected in manifest.files.items():
        size = (draft / name).stat().st_size
        if size != expected.size_bytes or digest(draft / name, limit=size) != expected:
            raise FolderError(f"{name} changed while it was added: add it again")
    _write(draft / MANIFEST_FILE, manifest.model_dump_json(indent=2).encode() + b"\n")
    sync(draft)


def _copy(source: Path, target: Path) -> None:
    with os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
        with target.open("xb") as copy:
            shutil.copyfileobj(stream, copy, _CHUNK)
        sync(target)
    target.chmod(_READ_ONLY)


def _write(target: Path, content: bytes) -> None:
    target.write_bytes(content)
    sync(target)
    target.chmod(_READ_ONLY)


def _make_folders(folder: Path) -> None:
    """Create `folder` and its missing parents, each synced to disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)
