"""Where the files of versions are kept: on this disk, in a folder that servers share, or afar."""

from pathlib import Path
from typing import Protocol

from adapters.config import AdaptersConfig
from adapters.models import Version
from adapters.store.filesystems import is_address, open_address
from adapters.store.local import ArtifactStore
from adapters.store.manifest import Manifest
from adapters.store.remote import RemoteArtifactStore


class Artifacts(Protocol):
    """The files of versions. Every method blocks; call them in a thread."""

    def path(self, version: Version) -> Path:
        """The local folder that the engine loads `version` from, once it was verified."""
        ...

    def publish(self, folder: Path, manifest: Manifest) -> str:
        """Take the vetted files of `folder` in; where they lie, relative to the root.

        Harmless if it was done before, also by another server at the same time. Raises
        `FolderError` when the files changed since they were vetted, else `ArtifactError`.
        """
        ...

    def verify(self, version: Version) -> None:
        """Have the files of `version` at its path, and hash them again.

        Raises `CorruptArtifactError` when they are not what was registered, else `ArtifactError`.
        """
        ...

    def exists(self, version: Version) -> bool:
        """Whether there is something to remove; may raise `ArtifactError`."""
        ...

    def remove(self, version: Version) -> None:
        """Remove the files for good; raises `OSError` or `ArtifactError`."""
        ...

    def clear_leftovers(self) -> int:
        """Remove what a crash of this server left unfinished; how many folders that was."""
        ...


def open_artifacts(config: AdaptersConfig, local: Path, owner: str) -> Artifacts:
    """The store that the settings name; `local` is this server's own folder for files.

    `owner` names this server among those that share a folder: letters and digits. Raises
    `StoreAddressError`.
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
    """The folder of `version`, whole; raises what `Artifacts.verify` does."""
    artifacts.verify(version)
    return artifacts.path(version)
