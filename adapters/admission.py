"""Admission of an adapter: vet it, name it, publish its files, register it as a candidate."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from adapters.config import AdaptersConfig
from adapters.errors import DuplicateAdapterError, FolderError, VettingError
from adapters.ledger import Author, Ledger
from adapters.models import Version
from adapters.names import check_slot, version_name
from adapters.routing.lifecycle import ADDRESSABLE, State
from adapters.store.artifacts import Artifacts
from adapters.store.manifest import Manifest, content_digest, manifest_of
from adapters.vetting.base_model import BaseModelInfo
from adapters.vetting.folder import left_files
from adapters.vetting.vet import Vetted, vet
from common.clock import Clock
from common.database import Guard, allow_any


@dataclass(frozen=True, slots=True)
class Candidate:
    """The metadata of an adapter that is to be added."""

    channel: str
    actor: str
    slot: str | None
    run: str | None
    parent: str | None
    figures: Mapping[str, Any]
    guard: Guard = allow_any


class Admission:
    """Adds adapters, one after the other, because names and contents must be unique."""

    def __init__(
        self,
        ledger: Ledger,
        store: Artifacts,
        clock: Clock,
        config: AdaptersConfig,
        base: BaseModelInfo,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._clock = clock
        self._config = config
        self._base = base
        self._turn = asyncio.Lock()
        self._log = structlog.get_logger()

    async def add(self, folder: Path, candidate: Candidate) -> Version:
        """Add the adapter; return the new version, or the existing one of the same content and run.

        Raises `VettingError`, `DuplicateAdapterError`, `ArtifactError` or `InvalidNameError`. A
        crash leaves at most a folder that the next attempt reuses.
        """
        if candidate.slot is not None:
            check_slot(candidate.slot)
        vetted = await asyncio.to_thread(vet, folder, self._base, self._config)
        if left := await asyncio.to_thread(left_files, folder):
            self._log.info("adapter_files_left", channel=candidate.channel, files=left)
        digest = content_digest(candidate.channel, self._base.fingerprint, vetted.files)
        async with self._turn:
            known = await self._known(digest, candidate)
            if known is None:
                return await self._register(vetted, digest, candidate)
            await self._put_back(known, vetted)
            return known

    async def _known(self, digest: str, candidate: Candidate) -> Version | None:
        return earlier(await self._ledger.with_digest(digest), candidate)

    async def _put_back(self, version: Version, vetted: Vetted) -> None:
        """Publish the files again: they may have been lost with another machine's disk."""
        if State(version.state) in ADDRESSABLE:
            manifest = self._manifest(vetted, version.channel, version.name)
            await asyncio.to_thread(self._store.publish, vetted.folder, manifest)

    def _manifest(self, vetted: Vetted, channel: str, name: str) -> Manifest:
        return manifest_of(vetted, self._base, channel=channel, version=name)

    async def _register(self, vetted: Vetted, digest: str, candidate: Candidate) -> Version:
        name = version_name(candidate.slot, digest, await self._ledger.names())
        manifest = self._manifest(vetted, candidate.channel, name)
        place = await asyncio.to_thread(self._store.publish, vetted.folder, manifest)
        version = self._version(manifest, place, candidate)
        await asyncio.to_thread(self._vet_copy, version, vetted)
        reason = "imported" if candidate.run is None else f"trained by run {candidate.run}"
        author = Author(candidate.actor, reason, candidate.guard)
        try:
            registered = await self._ledger.register(
                version, author, lambda rows: earlier(rows, candidate)
            )
        except DuplicateAdapterError as error:
            await self._forget(version, error.version)
            raise
        await self._forget(version, registered.name)
        self._log.info("adapter_added", version=registered.name, channel=candidate.channel)
        return registered

    async def _forget(self, version: Version, registered: str) -> None:
        """Delete the published files if another server has registered the same content first."""
        if version.name != registered:
            await asyncio.to_thread(self._store.remove, version)

    def _vet_copy(self, version: Version, vetted: Vetted) -> None:
        """Vet the published copy: the source folder may have changed since it was vetted."""
        try:
            copy = vet(self._store.path(version), self._base, self._config)
            if replace(copy, folder=vetted.folder) != vetted:
                raise FolderError("the adapter changed while it was added: add it again")
        except VettingError:
            self._store.remove(version)
            raise

    def _version(self, manifest: Manifest, place: str, candidate: Candidate) -> Version:
        return Version(
            name=manifest.version,
            channel=candidate.channel,
            state=State.CANDIDATE.value,
            parent=candidate.parent,
            run=candidate.run,
            base_model=manifest.base_model,
            base_fingerprint=manifest.base_fingerprint,
            folder=place,
            digest=manifest.digest,
            rank=manifest.rank,
            size_bytes=sum(file.size_bytes for file in manifest.files.values()),
            created_at=self._clock(),
            created_by=candidate.actor,
            figures=dict(candidate.figures),
        )


def earlier(rows: Sequence[Version], candidate: Candidate) -> Version | None:
    """Return the registered version of the same content and run, or None.

    Raises `DuplicateAdapterError` if the content is registered otherwise. A version that was
    retired or rolled back may be added again by hand, under a new name. A rejected one may not,
    since repeating the promotion gate until it passes would defeat it.
    """
    for row in rows:
        if candidate.run is not None and row.run == candidate.run:
            return row
    over = {State.RETIRED, State.ROLLED_BACK}
    for row in rows:
        if candidate.slot is not None or State(row.state) not in over:
            raise DuplicateAdapterError(row.name, row.state)
    return None
