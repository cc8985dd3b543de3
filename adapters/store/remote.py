"""The files of versions in object storage such as S3, with a local copy for the engine.

Object storage has no atomic rename, so the manifest is uploaded last: a version exists once its
manifest does. Downloads appear in the local copy completely or not at all, and only if their hashes
are the registered ones.
"""

from contextlib import suppress
from pathlib import Path

import fsspec

from adapters.errors import CorruptArtifactError, StoreAwayError
from adapters.models import Version
from adapters.store.filesystems import fetch_file, reaching, size_of
from adapters.store.local import ArtifactStore
from adapters.store.manifest import (
    MANIFEST_FILE,
    MANIFEST_LIMIT_BYTES,
    Manifest,
    content_digest,
    parse_manifest,
    place_of,
)
from adapters.vetting.folder import FILES
from adapters.vetting.vet import FileDigest, digest

_READ_ONLY = 0o400
_STORE = "the store of adapters.store"


class RemoteArtifactStore:
    """Artifact store on the fsspec file system `system` below `root`; `cache` is on this disk."""

    def __init__(self, system: fsspec.AbstractFileSystem, root: str, cache: ArtifactStore) -> None:
        self._system = system
        self._root = root
        self._cache = cache

    def path(self, version: Version) -> Path:
        """Return the local folder that the engine loads `version` from; call `verify` first."""
        return self._cache.path(version)

    def publish(self, folder: Path, manifest: Manifest) -> str:
        """Publish in the cache as `ArtifactStore.publish`, then upload, the manifest last.

        If the upload fails (`ArtifactError`), the same may be published again.
        """
        place = self._cache.publish(folder, manifest)
        try:
            with reaching(_STORE):
                if not self._is_whole(place, manifest):
                    self._upload(place, manifest)
        except FileNotFoundError as error:  # no such bucket
            raise StoreAwayError from error
        return place

    def verify(self, version: Version) -> None:
        """Verify the local copy; download it if it is missing or damaged.

        Raises `CorruptArtifactError` if the store's files differ from what was registered, and
        `ArtifactError` if the store cannot be read.
        """
        try:
            self._cache.verify(version)
        except CorruptArtifactError:
            with reaching("the disk under data_dir"):
                self._cache.remove(version)
            self._fetch(version)

    def exists(self, version: Version) -> bool:
        """Return whether the store or the local copy has `version`."""
        if self._cache.exists(version):
            return True
        with reaching(_STORE):
            return size_of(self._system, self._at(version.folder, MANIFEST_FILE)) is not None

    def remove(self, version: Version) -> None:
        """Delete the files of `version` from the store, the manifest first, then the local copy."""
        with reaching(_STORE):
            self._remove_manifest(version.folder)
            # Only the manifest existed, or another server has deleted the rest.
            with suppress(FileNotFoundError):
                self._system.rm(self._at(version.folder), recursive=True)
        self._cache.remove(version)

    def clear_leftovers(self) -> int:
        """Delete unfinished work in the local copy; return the number of folders.

        Unfinished uploads in the store lack a manifest and are harmless.
        """
        return self._cache.clear_leftovers()

    def _at(self, *names: str) -> str:
        return "/".join((self._root, *names))

    def _is_whole(self, place: str, manifest: Manifest) -> bool:
        """Whether the store has this content already, by its manifest and the files' sizes."""
        try:
            found = self._manifest(place, manifest.version)
        except (CorruptArtifactError, StoreAwayError):
            return False
        return found.digest == manifest.digest and all(
            size_of(self._system, self._at(place, name)) == file.size_bytes
            for name, file in manifest.files.items()
        )

    def _upload(self, place: str, manifest: Manifest) -> None:
        folder = self._cache.folder(place)
        self._remove_manifest(place)
        for name in (*manifest.files, MANIFEST_FILE):
            self._system.put_file(str(folder / name), self._at(place, name))

    def _remove_manifest(self, place: str) -> None:
        path = self._at(place, MANIFEST_FILE)
        if size_of(self._system, path) is not None:
            self._system.rm_file(path)

    def _manifest(self, place: str, version: str) -> Manifest:
        """Download the manifest of `version`; raises `CorruptArtifactError` or `StoreAwayError`."""
        path = self._at(place, MANIFEST_FILE)
        try:
            raw: bytes = self._system.cat_file(path, start=0, end=MANIFEST_LIMIT_BYTES)
        except FileNotFoundError as error:
            if not self._has_anything():
                raise StoreAwayError from error
            raise CorruptArtifactError(version, "the store has no manifest") from error
        return parse_manifest(raw, version)

    def _has_anything(self) -> bool:
        try:
            return bool(self._system.ls(self._root, detail=False))
        except FileNotFoundError:
            return False

    def _fetch(self, version: Version) -> None:
        with reaching(_STORE):
            manifest = self._manifest(version.folder, version.name)
            _check_manifest(manifest, version)
            self._cache.put(manifest, lambda draft: self._download(draft, manifest))

    def _download(self, draft: Path, manifest: Manifest) -> None:
        place = place_of(manifest)
        for name, expected in manifest.files.items():
            with reaching(_STORE):
                intact = self._download_file(self._at(place, name), draft / name, expected)
            if not intact:
                raise CorruptArtifactError(manifest.version, f"{name} differs in the store")

    def _download_file(self, path: str, target: Path, expected: FileDigest) -> bool:
        """Download `path` unless its size differs; return whether it is `expected`."""
        if size_of(self._system, path) != expected.size_bytes:
            return False
        fetch_file(self._system, path, target, _READ_ONLY)
        return digest(target, limit=expected.size_bytes) == expected


def _check_manifest(manifest: Manifest, version: Version) -> None:
    """Raise `CorruptArtifactError` unless the manifest is the one that was registered.

    The registered digest covers the names and hashes of the files, so none can be forged.
    """
    named = content_digest(manifest.channel, manifest.base_fingerprint, manifest.files)
    ours = (manifest.version, place_of(manifest), named) == (
        version.name,
        version.folder,
        version.digest,
    )
    if not ours or manifest.digest != version.digest or not manifest.files.keys() <= set(FILES):
        raise CorruptArtifactError(version.name, "the store's manifest is not its own")
