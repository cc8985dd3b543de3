"""`pawl restore`: restores the adapter files, then the database in one transaction.

All hashes are checked before anything is written, and the database must be empty, so nothing is
ever overwritten. An interrupted restore can be repeated.
"""

import asyncio
import gzip
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg import Error as PostgresError

from adapters.errors import CorruptArtifactError
from adapters.store.artifacts import Artifacts
from adapters.store.filesystems import fetch_file
from adapters.store.manifest import (
    MANIFEST_FILE,
    MANIFEST_LIMIT_BYTES,
    Manifest,
    content_digest,
    parse_manifest,
)
from server.adapter_store import open_store
from server.database.migrate import alembic_config, upgrade
from server.database.statistics import renew_after_bulk_load
from server.maintenance.backup.errors import BackupError
from server.maintenance.backup.fill import Row, check_empty, fill, writing
from server.maintenance.backup.manifest import (
    ADAPTERS,
    MANIFEST,
    BackupManifest,
    TableRecord,
    VersionRecord,
    parse,
)
from server.maintenance.backup.place import CHUNK, Place, failing
from server.maintenance.backup.rows import decoder
from server.maintenance.backup.take import REPORT_ROWS, Progress
from server.settings import Settings
from server.startup.data_lock import DataLock

MANIFEST_BYTES = 64 * 1024 * 1024
"""Maximum size of a manifest in bytes."""
_OWNER_ONLY = 0o600


def restore_backup(settings: Settings, source: str, progress: Progress) -> BackupManifest:
    """Restore a backup into the database and the adapter store of `settings`.

    A backup of an older revision is migrated.

    Args:
        settings: The settings; their database must be empty or missing.
        source: Folder or address of the backup.
        progress: Called with a name, the number of rows or files done, and their total.

    Raises:
        BackupError: If the backup is damaged or newer than this code, or the database not empty.

    """
    place = Place.at(source, settings.adapters)
    lock = DataLock(settings.data_dir).acquire()
    try:
        with failing():
            manifest = read_manifest(place)
            _check_files(place, manifest, progress)
            _prepare(settings.database, manifest.revision)
            _restore_versions(settings, place, manifest, progress)
            _restore_tables(settings.database, place, manifest, progress)
            asyncio.run(upgrade(settings.database))
    finally:
        lock.release()
    return manifest


def read_manifest(place: Place) -> BackupManifest:
    """Read the manifest; raises `BackupError` if it is missing, damaged or of a newer Pawl."""
    try:
        manifest = parse(place.read(MANIFEST, MANIFEST_BYTES))
    except FileNotFoundError as error:
        raise BackupError(
            f"there is no {MANIFEST}: that is no backup, or one that was cut off"
        ) from error
    try:
        ScriptDirectory.from_config(alembic_config()).get_revision(manifest.revision)
    except CommandError as error:
        raise BackupError(
            f"the backup is of a newer Pawl ({manifest.pawl}, database {manifest.revision}): "
            "restore it with that one"
        ) from error
    return manifest


def _check_files(place: Place, manifest: BackupManifest, progress: Progress) -> None:
    """Check the hash of every file; raises `BackupError`."""
    present = [version for version in manifest.versions if version.present]
    total, done = len(manifest.tables) + len(present), 0
    for table in manifest.tables:
        if _hashed(place, table.file, table.size_bytes) != table.sha256:
            raise BackupError(f"{table.file} of the backup is missing or was changed")
        progress("check", done := done + 1, total)
    for version in present:
        _check_version(place, version)
        progress("check", done := done + 1, total)


def _hashed(place: Place, name: str, size: int) -> str | None:
    """Return a file's sha256 in hex; None if it is missing or has another size."""
    if place.size(name) != size:
        return None
    digest = sha256()
    with place.stream(name) as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def _check_version(place: Place, version: VersionRecord) -> None:
    manifest = _version_manifest(place, version)
    for name, file in manifest.files.items():
        if _hashed(place, _path(version, name), file.size_bytes) != file.sha256:
            raise BackupError(f"{name} of {version.name} in the backup is missing or was changed")


def _version_manifest(place: Place, version: VersionRecord) -> Manifest:
    """Return the version's own manifest, if its digest is the one in the database."""
    try:
        raw = place.read(_path(version, MANIFEST_FILE), MANIFEST_LIMIT_BYTES)
        manifest = parse_manifest(raw, version.name)
    except (FileNotFoundError, CorruptArtifactError) as error:
        raise BackupError(f"the manifest of {version.name} in the backup is damaged") from error
    named = content_digest(manifest.channel, manifest.base_fingerprint, manifest.files)
    if named != version.digest or manifest.version != version.name:
        raise BackupError(f"the manifest of {version.name} in the backup was changed")
    return manifest


def _path(version: VersionRecord, name: str) -> str:
    return f"{ADAPTERS}/{version.folder}/{name}"


def _prepare(url: str, revision: str) -> None:
    """Create the tables of the backup's revision; raises `BackupError` if there is data."""
    with writing(url) as connection:
        check_empty(connection, revision)
    asyncio.run(upgrade(url, revision))


def _restore_versions(
    settings: Settings, place: Place, manifest: BackupManifest, progress: Progress
) -> None:
    store = open_store(settings)
    present = [version for version in manifest.versions if version.present]
    for number, version in enumerate(present, 1):
        _restore_version(store, place, version, settings.data_dir)
        progress(ADAPTERS, number, len(present))


def _restore_version(
    store: Artifacts, place: Place, version: VersionRecord, data_dir: Path
) -> None:
    manifest = _version_manifest(place, version)
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=data_dir) as folder:
        for name in manifest.files:
            path = place.path(_path(version, name))
            fetch_file(place.system, path, Path(folder) / name, _OWNER_ONLY)
        store.publish(Path(folder), manifest)


def _restore_tables(url: str, place: Place, manifest: BackupManifest, progress: Progress) -> None:
    with writing(url) as connection:
        check_empty(connection, manifest.revision)
        for record in manifest.tables:
            with _lines(place, record) as lines, _understood(record):
                written = fill(connection, record, _rows(lines, record, progress))
            if written != record.rows:
                raise BackupError(f"{record.file} has {written} rows, not {record.rows}")
        renew_after_bulk_load(connection)


@contextmanager
def _lines(place: Place, record: TableRecord) -> Iterator[BufferedReader]:
    with place.stream(record.file) as file, gzip.open(file, "rb") as unpacked:
        yield cast("BufferedReader", unpacked)


def _rows(lines: BufferedReader, record: TableRecord, progress: Progress) -> Iterator[Row]:
    decode = decoder([column.kind for column in record.columns])
    for number, line in enumerate(lines, 1):
        yield decode(line)
        if number % REPORT_ROWS == 0 or number == record.rows:
            progress(record.name, number, record.rows)


@contextmanager
def _understood(record: TableRecord) -> Iterator[None]:
    """Turn errors of the database and the decoder into a `BackupError` that names the table."""
    errors: tuple[type[Any], ...] = (PostgresError, ValueError, EOFError)
    try:
        yield
    except errors as error:
        raise BackupError(
            f"the rows of {record.name} could not be restored ({type(error).__name__}): nothing "
            "was written"
        ) from error
