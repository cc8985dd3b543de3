"""`manifest.json`: the files of a version, and the digest that identifies their content."""

import hashlib
import json
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from adapters.errors import ArtifactError, CorruptArtifactError
from adapters.names import is_channel, is_version
from adapters.vetting.base_model import BaseModelInfo
from adapters.vetting.vet import FileDigest, Vetted

MANIFEST_FILE = "manifest.json"
MANIFEST_LIMIT_BYTES = 1024 * 1024
"""Bytes of a manifest that are read."""


class Manifest(BaseModel):
    """The content of `manifest.json`. `digest` is the `content_digest` of the version."""

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
    """Return the sha256 (hex) of the channel, the base's fingerprint and the files' digests."""
    content = {name: [file.sha256, file.size_bytes] for name, file in files.items()}
    text = json.dumps([channel, fingerprint, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def manifest_of(vetted: Vetted, base: BaseModelInfo, *, channel: str, version: str) -> Manifest:
    """Return the manifest of a vetted adapter under the name `version`."""
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


def parse_manifest(raw: bytes, version: str) -> Manifest:
    """Parse the manifest of `version`; raises `CorruptArtifactError`."""
    try:
        return Manifest.model_validate_json(raw)
    except ValidationError as error:
        raise CorruptArtifactError(version, "its manifest is unreadable") from error


def place_of(manifest: Manifest) -> str:
    """Return the path of a version relative to the root; raises `ArtifactError`.

    The names come from the server, but they are checked so that no path can leave the root.
    """
    if not (is_channel(manifest.channel) and is_version(manifest.version)):
        raise ArtifactError("a channel or version has an impossible name: nothing was written")
    return f"{manifest.channel}/{manifest.version}"
