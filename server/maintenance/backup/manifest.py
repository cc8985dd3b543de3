"""`backup.json`, the table of contents of a backup. Written last: it marks a complete backup."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from server.maintenance.backup.errors import BackupError

MANIFEST = "backup.json"
ADAPTERS = "adapters"

Kind = Literal["plain", "time", "bytes", "json"]
"""How a column's values are serialised; see `server.maintenance.backup.rows`."""


class Column(BaseModel):
    """One column of a table."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Kind


class TableRecord(BaseModel):
    """One table: gzipped JSON lines in `file`; `sha256` (hex) and `size_bytes` are the file's."""

    model_config = ConfigDict(frozen=True)

    name: str
    file: str
    columns: list[Column]
    rows: int
    sha256: str
    size_bytes: int


class VersionRecord(BaseModel):
    """An adapter version; not `present` if it has ended and its files were removed."""

    model_config = ConfigDict(frozen=True)

    name: str
    channel: str
    folder: str
    digest: str
    size_bytes: int
    present: bool


class BackupManifest(BaseModel):
    """The content of a backup: the database's state at `began_at`.

    Tables are listed parents first, the order in which they can be filled. `spooled_rows` is the
    number of rows in this server's spool, which the backup does not contain.
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
        """Size of all files except the manifest."""
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
