"""`backup.json`: what a backup holds. It is written last: without it there is no backup."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from server.maintenance.backup.errors import BackupError

MANIFEST = "backup.json"
ADAPTERS = "adapters"

Kind = Literal["plain", "time", "bytes", "json"]
"""How a column's values are written; see `rows`."""


class Column(BaseModel):
    """One column of a table's lines, in order."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Kind


class TableRecord(BaseModel):
    """One table: gzipped JSON lines in `file`, whose hash (sha256, hex) and size these are."""

    model_config = ConfigDict(frozen=True)

    name: str
    file: str
    columns: list[Column]
    rows: int
    sha256: str
    size_bytes: int


class VersionRecord(BaseModel):
    """An adapter version of the database; `present` unless it has ended and its files are gone."""

    model_config = ConfigDict(frozen=True)

    name: str
    channel: str
    folder: str
    digest: str
    size_bytes: int
    present: bool


class BackupManifest(BaseModel):
    """What was there at `began_at`. Tables are in the order in which they can be filled.

    `spooled_rows` waited in this server's spool as it ended, and are not in it.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    pawl: str
    began_at: AwareDatetime
    database: str
    revision: str
    tables: list[TableRecord]
    versions: list[VersionRecord]
    spooled_rows: int = 0

    @property
    def size_bytes(self) -> int:
        """All of its files but itself."""
        kept = sum(version.size_bytes for version in self.versions if version.present)
        return kept + sum(table.size_bytes for table in self.tables)


def parse(raw: bytes) -> BackupManifest:
    """Read a manifest; raises `BackupError`."""
    try:
        return BackupManifest.model_validate_json(raw)
    except ValidationError as error:
        raise BackupError(
            f"{MANIFEST} cannot be read: it is damaged, or of a newer Pawl's format"
        ) from error
