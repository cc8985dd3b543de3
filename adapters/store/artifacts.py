"""The interface of artifact stores, and the choice of one by the settings."""

from pathlib import Path
from typing import Protocol

from adapters.config import AdaptersConfig
from adapters.models import Version
from adapters.store.filesystems import is_address, open_address
from adapters.store.local import ArtifactStore
from adapters.store.manifest import Manifest
from adapters.store.remote import RemoteArtifactStore


class Artifacts(Protocol):
    """Stores the files of versions. Every method blocks; call them in a thread."""

    def path(self, version: Version) -> Path:
        """Return the local folder that the engine loads `version` from; call `verify` first."""
        ...

    def publish(self, folder: Path, manifest: Manifest) -> str:
        """Store the vetted files of `folder`; return their path relative to the root.

        Idempotent, also if another server publishes the same at the same time. Raises `FolderError`
        if the files changed since they were vetted, else `ArtifactError`.
        """
        ...

    def verify(self, version: Version) -> None:
        """Make the files of `version` available at its path and compare their hashes.

        Raises `CorruptArtifactError` if they differ from what was registered, else `ArtifactError`.
        """
        ...

    def exists(self, version: Version) -> bool:
        """Return whether files of `version` exist; may raise `ArtifactError`."""
        ...

    def remove(self, version: Version) -> None:
        """Delete the files. Raises `OSError` or `ArtifactError`."""
        ...

    def clear_leftovers(self) -> int:
        """Delete unfinished work that a crash of this server left; return the number of folders."""
        ...


def open_artifacts(config: AdaptersConfig, local: Path, owner: str) -> Artifacts:
    """Open the store that the settings name; `local` is this server's own folder for files.

    `owner` identifies this server among those that share a folder (letters and digits only).
    Raises `StoreAddressError`.
    """
    if config.store is None:
        return ArtifactStore(local)
    if not is_address(config.store):
        return ArtifactStore(Path(config.store).expanduser(), owner)
    system, root = open_address(
        config.store,
        config.store_options,
        timeout_seconds=config.store_timeout_seconds,
        attempts=config.store_attempts,
    )
    return RemoteArtifactStore(system, root, ArtifactStore(local))


def fetched(artifacts: Artifacts, version: Version) -> Path:
    """Verify `version` and return its folder; raises what `Artifacts.verify` raises."""
    artifacts.verify(version)
    return artifacts.path(version)
