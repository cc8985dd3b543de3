"""The files of versions: `<root>/<channel>/<version>/`, written once, checked before each load.

A version appears by one rename, with all its files synced and the manifest written last. Names that
begin with a dot are work in progress and are removed at start; where several servers share a folder
they name whose work it is.
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
"""Another server's work in progress that nobody has touched for so long was left behind."""

Fill = Callable[[Path], None]
"""Puts a version's files, synced, into the folder that it is given."""


class ArtifactStore:
    """Every method works on the disk and blocks; call them in a thread.

    `owner` names this server where others work on the same folder; None: nobody else does. Letters
    and digits only.
    """

    def __init__(self, root: Path, owner: str | None = None) -> None:
        self._root = root.absolute()
        self._owner = owner

    def path(self, version: Version) -> Path:
        """The folder that the engine loads `version` from."""
        return self.folder(version.folder)

    def folder(self, place: str) -> Path:
        """Where a place, relative to the root, is."""
        return self._root / place

    def publish(self, folder: Path, manifest: Manifest) -> str:
        """Copy the vetted files of `folder` to their place; the place, relative to the root.

        No version may have the manifest's name yet. What lies at its place all the same (a crash
        before it was registered, another server at the same work) is kept if it is whole, else
        replaced. Raises `FolderError` when the files changed since they were vetted, else
        `ArtifactError`; then nothing is left behind.
        """
        return self.put(manifest, lambda draft: _copy_all(folder, draft, manifest))

    def put(self, manifest: Manifest, fill: Fill) -> str:
        """As `publish`, with the files that `fill` brings; what it raises is raised."""
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
        """Hash the files of `version` again.

        Raises `CorruptArtifactError` when they are not what was registered, `ArtifactError` when
        the disk does not give them; so too where a shared folder has no version at all.
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
        """Whether the folder of `version` is there."""
        return self.path(version).is_dir()

    def remove(self, version: Version) -> None:
        """Remove the files of `version` for good; raises `OSError`."""
        self._remove(self.path(version))

    def clear_leftovers(self) -> int:
        """Remove what a crash left unfinished; how many folders that was.

        Of other servers' work in the same folder only what was left behind long ago.
        """
        leftovers = [path for path in self._folders() if self._left_behind(path)]
        for path in leftovers:
            shutil.rmtree(path, ignore_errors=self._owner is not None)
        return len(leftovers)

    def _hidden(self, work: str) -> str:
        owner = "" if self._owner is None else f"{self._owner}-"
        return f".{work}-{owner}{secrets.token_hex(8)}"

    def _left_behind(self, path: Path) -> bool:
        """Whether this server left it, or one that has not touched it for long."""
        if not path.name.startswith("."):
            return False
        if self._owner is None or f"-{self._owner}-" in path.name:
            return True
        try:
            return time.time() - path.lstat().st_mtime > LEFTOVER_SECONDS
        except FileNotFoundError:
            return False  # its owner has come to the end of it

    def _reveal(self, draft: Path, place: str, manifest: Manifest) -> None:
        """Put the draft in its place, unless another server has just put the same there."""
        try:
            draft.rename(self._root / place)
        except OSError as error:
            taken = error.errno in (errno.ENOTEMPTY, errno.EEXIST)
            if not (taken and self._holds(place, manifest)):
                raise

    def _remove(self, place: Path) -> None:
        """Out of sight by one rename, so that no half of it can be taken for a version."""
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
        """Whether `place` holds that very content; anything else is cleared from there."""
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
        return parse_manifest(stream.read(MANIFEST_LIMIT_BYTES), version)


def _copy_all(folder: Path, draft: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        _copy(folder / name, draft / name)


def _seal(draft: Path, manifest: Manifest) -> None:
    """Check the files and write the manifest beside them."""
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
    """Create `folder` and what is missing above it, each durable in its parent."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)
