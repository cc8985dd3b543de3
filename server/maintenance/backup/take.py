"""`pawl backup`: copies a snapshot of the database, then the files of its adapter versions.

In this order every version in the snapshot has its files: versions are immutable, and the files of
a version that ends meanwhile are kept for `adapters.grace_days`.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path

from sqlalchemy import Connection, Table, select

from adapters.errors import ArtifactError, CorruptArtifactError
from adapters.models import Version
from adapters.routing.lifecycle import ENDED, State
from adapters.store.artifacts import Artifacts, open_artifacts
from adapters.store.filesystems import is_address
from adapters.store.manifest import MANIFEST_FILE
from adapters.vetting.folder import FILES
from common.clock import Clock
from server.database.address import sqlite_url
from server.maintenance.backup.errors import BackupError
from server.maintenance.backup.manifest import ADAPTERS, BackupManifest, TableRecord, VersionRecord
from server.maintenance.backup.place import Draft, Place, new_backup
from server.maintenance.backup.rows import encoder
from server.maintenance.backup.snapshot import (
    columns_of,
    count,
    revision_of,
    rows_of,
    snapshot,
    tables_of,
)
from server.settings import Settings

EPHEMERAL = frozenset({"server", "load_request"})
"""Tables about running servers, which a backup leaves out."""

REPORT_ROWS = 1000
"""Rows between two reports of progress."""
_SPOOLED = ("interaction", "feedback")


Progress = Callable[[str, int, int], None]
"""Called with a name, the number of rows or files done, and their total."""


@dataclass(frozen=True, slots=True)
class _Dumped:
    revision: str
    database: str
    tables: list[TableRecord]
    versions: list[Version]


def take_backup(
    settings: Settings, destination: str, clock: Clock, progress: Progress
) -> BackupManifest:
    """Make a backup at `destination`, complete or not at all; a server may run meanwhile.

    The backup contains everything that was acknowledged before it began, except spooled rows.

    Args:
        settings: The settings of the server.
        destination: A new folder, or an address that fsspec supports.
        clock: Returns the current time.
        progress: Called with a name, the number of rows or files done, and their total.

    Raises:
        BackupError: If the database or a file cannot be read, or the destination exists.

    """
    place = Place.at(destination, settings.adapters)
    with new_backup(place) as draft, _artifacts(settings) as artifacts:
        began_at = clock()
        dumped = _dump(settings.database, draft, progress)
        manifest = BackupManifest(
            pawl=package_version("pawl"),
            began_at=began_at,
            database=dumped.database,
            revision=dumped.revision,
            tables=dumped.tables,
            versions=_copy_versions(dumped.versions, artifacts, draft, progress),
            spooled_rows=_spooled(settings.data_dir / "spool" / "spool.db"),
        )
        draft.finish(manifest.model_dump_json(indent=2).encode())
    return manifest


def _spooled(spool: Path) -> int:
    """Return the number of spooled rows, which are in no backup until the spool is drained."""
    if not spool.exists():
        return 0
    with snapshot(sqlite_url(spool)) as connection:
        tables = tables_of(connection)
        return sum(count(connection, tables[name]) for name in _SPOOLED if name in tables)


@contextmanager
def _artifacts(settings: Settings) -> Iterator[Artifacts]:
    """Open the adapter store; a remote store downloads into a temporary folder."""
    store = settings.adapters.store
    if store is None or not is_address(store):
        yield open_artifacts(settings.adapters, settings.data_dir / "adapters", "backup")
        return
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=settings.data_dir) as folder:
        yield open_artifacts(settings.adapters, Path(folder), "backup")


def _dump(url: str, draft: Draft, progress: Progress) -> _Dumped:
    with snapshot(url) as connection:
        revision = revision_of(connection)
        tables = tables_of(connection)
        if revision is None or "version" not in tables:
            raise BackupError("the database holds no tables yet: start 'pawl serve' once")
        records = [
            _dump_table(connection, table, draft, progress)
            for name, table in tables.items()
            if name not in EPHEMERAL
        ]
        versions = _versions(connection, tables["version"])
        return _Dumped(revision, connection.dialect.name, records, versions)


def _dump_table(
    connection: Connection, table: Table, draft: Draft, progress: Progress
) -> TableRecord:
    columns, total, done = columns_of(table), count(connection, table), 0
    encode = encoder([column.kind for column in columns])
    file = f"tables/{table.name}.jsonl.gz"
    progress(table.name, 0, total)
    with draft.packed(file) as (packed, written):
        for row in rows_of(connection, table):
            packed.write(encode(row))
            done += 1
            if done % REPORT_ROWS == 0:
                progress(table.name, done, total)
    progress(table.name, done, total)
    return TableRecord(
        name=table.name,
        file=file,
        columns=columns,
        rows=done,
        sha256=written.sha256,
        size_bytes=written.size_bytes,
    )


def _versions(connection: Connection, table: Table) -> list[Version]:
    """Read the columns of the versions that their files need."""
    wanted = ("name", "channel", "state", "folder", "digest", "size_bytes")
    query = select(*(table.c[name] for name in wanted)).order_by(table.c.name)
    return [Version(**dict(row)) for row in connection.execute(query).mappings()]


def _copy_versions(
    versions: list[Version], artifacts: Artifacts, draft: Draft, progress: Progress
) -> list[VersionRecord]:
    records = []
    for number, version in enumerate(versions, 1):
        present = _copied(version, artifacts, draft)
        records.append(
            VersionRecord(
                name=version.name,
                channel=version.channel,
                folder=version.folder,
                digest=version.digest,
                size_bytes=version.size_bytes,
                present=present,
            )
        )
        progress(ADAPTERS, number, len(versions))
    return records


def _copied(version: Version, artifacts: Artifacts, draft: Draft) -> bool:
    """Copy a version's files; return False if it has ended and its files were removed."""
    try:
        artifacts.verify(version)
        for name in (*FILES, MANIFEST_FILE):
            draft.put(artifacts.path(version) / name, f"{ADAPTERS}/{version.folder}/{name}")
    except (CorruptArtifactError, FileNotFoundError) as error:
        if State(version.state) not in ENDED:
            raise BackupError(
                f"the files of {version.name} ({version.state}) are missing or damaged: reject or "
                "retire it, or restore them, then back up again"
            ) from error
        return False
    except ArtifactError as error:
        raise BackupError(str(error)) from error
    return True
