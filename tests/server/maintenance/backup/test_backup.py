"""Back-up and restore on both databases, into the same kind and into the other."""

import asyncio
import gzip
import json
import sqlite3
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from sqlalchemy import create_engine, text

from adapters.vetting.folder import WEIGHTS_FILE
from server.database.migrate import upgrade
from server.errors import SetupError
from server.maintenance.backup.errors import BackupError
from server.maintenance.backup.manifest import BackupManifest
from server.maintenance.backup.restore import restore_backup
from server.maintenance.backup.take import take_backup
from server.startup.data_lock import DataLock
from tests import s3_server
from tests.adapters.store.test_local import version_of
from tests.postgres_fixture import TestDatabases
from tests.server.maintenance.backup.deployment import (
    LIVE,
    NOW,
    OLD,
    Deployment,
    clock,
    live_manifest,
    silent,
)

NewDatabase = Callable[[str], str | None]


@pytest.fixture
def new_database(request: pytest.FixtureRequest) -> Iterator[NewDatabase]:
    """Makes an empty database of a kind; None stands for SQLite in the data folder."""
    opened = []

    def make(kind: str) -> str | None:
        if kind == "sqlite":
            return None
        databases: TestDatabases = request.getfixturevalue("postgres")
        manager = databases.database(empty=True)
        opened.append(manager)
        return manager.__enter__()

    yield make
    for manager in opened:
        manager.__exit__(None, None, None)


@pytest.fixture
def shop(tmp_path: Path) -> Deployment:
    """A filled deployment on SQLite."""
    made = Deployment.at(tmp_path / "shop")
    asyncio.run(made.fill())
    return made


@pytest.fixture
def kept(shop: Deployment, tmp_path: Path) -> Path:
    """A backup of it."""
    back_up(shop, tmp_path / "backup")
    return tmp_path / "backup"


@pytest.fixture
def other(tmp_path: Path) -> Deployment:
    """Where nothing is yet."""
    return Deployment.at(tmp_path / "other")


def back_up(source: Deployment, destination: Path | str) -> BackupManifest:
    return take_backup(source.settings, str(destination), clock, silent)


def restore(target: Deployment, source: Path | str) -> BackupManifest:
    return restore_backup(target.settings, str(source), silent)


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
@pytest.mark.parametrize("source", ["sqlite", "postgresql"])
def test_what_is_restored_is_what_was_backed_up(
    tmp_path: Path, new_database: NewDatabase, source: str, target: str
) -> None:
    shop = Deployment.at(tmp_path / "shop", new_database(source))
    asyncio.run(shop.fill())
    manifest = back_up(shop, tmp_path / "backup")
    other = Deployment.at(tmp_path / "other", new_database(target))
    assert restore(other, tmp_path / "backup") == manifest
    assert other.content() == shop.content()
    assert (manifest.database, manifest.began_at) == (source, NOW)


def test_the_files_of_versions_are_restored(other: Deployment, kept: Path) -> None:
    manifest = restore(other, kept)
    assert {version.name: version.present for version in manifest.versions} == {
        LIVE: True,
        OLD: False,
    }
    version = version_of(live_manifest(other.folder, LIVE, 1), f"pawl/{LIVE}")
    other.store.verify(version)


def test_a_backup_appears_whole_and_only_its_owner_reads_it(kept: Path) -> None:
    assert [path.name for path in kept.parent.iterdir() if "partial" in path.name] == []
    modes = {path.stat().st_mode & 0o077 for path in (kept, *kept.rglob("*"))}
    assert modes == {0}


def test_what_is_written_while_it_runs_is_not_in_it(shop: Deployment, tmp_path: Path) -> None:
    before = shop.content()

    def write(_what: str, _done: int, _total: int) -> None:
        path = shop.settings.data_dir / "pawl.db"
        with sqlite3.connect(path, isolation_level=None) as connection:
            connection.execute("INSERT INTO secret VALUES (?, ?)", (uuid4().hex, b""))
        connection.close()

    take_backup(shop.settings, str(tmp_path / "backup"), clock, write)
    assert len(shop.content()["secret"]) > len(before["secret"])
    other = Deployment.at(tmp_path / "other")
    restore(other, tmp_path / "backup")
    assert other.content() == before


def test_rows_that_wait_in_the_spool_are_counted(shop: Deployment, tmp_path: Path) -> None:
    (shop.settings.data_dir / "spool").mkdir()
    with sqlite3.connect(shop.settings.data_dir / "spool" / "spool.db") as spool:
        spool.execute("CREATE TABLE feedback (id TEXT)")
        spool.execute("INSERT INTO feedback VALUES ('waits')")
    spool.close()
    assert back_up(shop, tmp_path / "backup").spooled_rows == 1


def test_it_needs_no_lock_and_leaves_none(shop: Deployment, tmp_path: Path) -> None:
    lock = DataLock(shop.settings.data_dir).acquire()
    try:
        back_up(shop, tmp_path / "backup")
    finally:
        lock.release()


def test_nothing_is_restored_beside_a_server(other: Deployment, kept: Path) -> None:
    lock = DataLock(other.settings.data_dir).acquire()
    try:
        with pytest.raises(SetupError, match="another server"):
            restore(other, kept)
    finally:
        lock.release()


def test_a_database_that_is_not_empty_is_left_as_it_is(shop: Deployment, kept: Path) -> None:
    before = shop.content()
    with pytest.raises(BackupError, match="not empty"):
        restore(shop, kept)
    assert shop.content() == before


def test_tables_without_rows_are_no_hindrance(
    shop: Deployment, other: Deployment, kept: Path
) -> None:
    other.settings.data_dir.mkdir()
    asyncio.run(upgrade(other.settings.database))
    restore(other, kept)
    assert other.content() == shop.content()


def test_a_place_that_is_taken_is_left_as_it_is(shop: Deployment, kept: Path) -> None:
    before = {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    with pytest.raises(BackupError, match="already"):
        back_up(shop, kept)
    assert {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()} == before


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        "tables/interaction.jsonl.gz",
        f"adapters/pawl/{LIVE}/{WEIGHTS_FILE}",
        f"adapters/pawl/{LIVE}/manifest.json",
    ],
)
@pytest.mark.parametrize("damage", [spoil, Path.unlink])
def test_damage_is_found_before_anything_is_written(
    other: Deployment, kept: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(kept / name)
    with pytest.raises(BackupError, match=r"missing|damaged|changed"):
        restore(other, kept)
    assert not (other.settings.data_dir / "pawl.db").exists()
    assert not (other.settings.data_dir / "adapters").exists()


def edit_manifest(kept: Path, **changes: Any) -> None:
    path = kept / "backup.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"revision": "9999"}, "newer Pawl"), ({"format": 2}, "newer"), ({"tables": 3}, "damaged")],
)
def test_a_backup_of_a_newer_pawl_is_refused(
    other: Deployment, kept: Path, changes: dict[str, Any], match: str
) -> None:
    edit_manifest(kept, **changes)
    with pytest.raises(BackupError, match=match):
        restore(other, kept)
    assert not (other.settings.data_dir / "pawl.db").exists()


def test_a_folder_without_a_manifest_is_no_backup(other: Deployment, kept: Path) -> None:
    (kept / "backup.json").unlink()
    with pytest.raises(BackupError, match=r"no backup\.json"):
        restore(other, kept)


def test_rows_that_the_database_will_not_take_leave_it_empty(other: Deployment, kept: Path) -> None:
    path = kept / "tables" / "choice.jsonl.gz"
    rows = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(rows + rows))
    record = json.loads((kept / "backup.json").read_text())["tables"]
    for table in record:
        if table["name"] == "choice":
            table["sha256"] = sha256(path.read_bytes()).hexdigest()
            table["size_bytes"] = path.stat().st_size
    edit_manifest(kept, tables=record)
    with pytest.raises(BackupError):
        restore(other, kept)
    assert not any(other.content().values())


class CrashError(BaseException):
    """The process ends here."""


def test_a_restore_that_was_cut_off_is_made_again(
    shop: Deployment, other: Deployment, kept: Path
) -> None:
    def crash(what: str, _done: int, _total: int) -> None:
        if what == "route":
            raise CrashError

    with pytest.raises(CrashError):
        restore_backup(other.settings, str(kept), crash)
    assert not any(other.content().values())
    restore(other, kept)
    assert other.content() == shop.content()


@pytest.mark.parametrize("error", [CrashError, KeyboardInterrupt])
def test_a_backup_that_was_cut_off_leaves_nothing(
    shop: Deployment, tmp_path: Path, error: type[BaseException]
) -> None:
    def crash(what: str, _done: int, _total: int) -> None:
        if what == "adapters":
            raise error

    before = set(tmp_path.iterdir())
    with pytest.raises(error):
        take_backup(shop.settings, str(tmp_path / "backup"), clock, crash)
    assert set(tmp_path.iterdir()) == before


def test_a_live_version_that_is_damaged_is_not_backed_up(shop: Deployment, tmp_path: Path) -> None:
    weights = shop.settings.data_dir / "adapters" / "pawl" / LIVE / WEIGHTS_FILE
    weights.chmod(0o600)
    spoil(weights)
    with pytest.raises(BackupError, match=f"{LIVE}.*live"):
        back_up(shop, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_backup_of_the_first_release_is_migrated(
    tmp_path: Path, new_database: NewDatabase, backend: str
) -> None:
    first = Deployment.at(tmp_path / "first", new_database(backend))
    first.settings.data_dir.mkdir()
    asyncio.run(upgrade(first.settings.database, "0001"))
    engine = create_engine(first.settings.database.replace("+aiosqlite", ""))
    with engine.begin() as connection:
        row = {"n": "interaction-id", "v": b"\x00\xff"}
        connection.execute(text("INSERT INTO secret VALUES (:n, :v)"), row)
    engine.dispose()
    assert back_up(first, tmp_path / "backup").revision == "0001"
    other = Deployment.at(tmp_path / "other", new_database(backend))
    restore(other, tmp_path / "backup")
    fresh = Deployment.at(tmp_path / "fresh")
    fresh.settings.data_dir.mkdir()
    asyncio.run(upgrade(fresh.settings.database))
    assert other.content() == {**fresh.content(), "secret": first.content()["secret"]}


@pytest.mark.parametrize("purged", ["before", "after"])
def test_an_ended_version_may_be_purged_meanwhile(
    shop: Deployment, other: Deployment, tmp_path: Path, purged: str
) -> None:
    """Before its files are copied, or after."""
    manifest = live_manifest(tmp_path / "again", OLD, 2)
    place = shop.store.publish(tmp_path / "again" / "trained" / OLD, manifest)
    moments = {"version_event": "before", "adapters": "after"}

    def purge(what: str, _done: int, _total: int) -> None:
        if moments.get(what) == purged:
            shop.store.remove(version_of(manifest, place))

    made = take_backup(shop.settings, str(tmp_path / "backup"), clock, purge)
    present = {version.name: version.present for version in made.versions}
    assert present == {LIVE: True, OLD: purged != "before"}
    restore(other, tmp_path / "backup")
    assert other.content() == shop.content()


def test_there_must_be_a_database(other: Deployment, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="no database"):
        back_up(other, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server's address."""
    with s3_server.s3_server() as endpoint:
        yield endpoint


def test_store_and_backup_may_be_in_s3(tmp_path: Path, s3: str) -> None:
    bucket = s3_server.new_bucket(s3)
    far: dict[str, Any] = {
        "store": f"s3://{bucket}/store",
        "store_options": s3_server.options(s3),
    }
    shop = Deployment.at(tmp_path / "shop", **far)
    asyncio.run(shop.fill())
    place = f"s3://{bucket}/backups/monday"
    manifest = back_up(shop, place)
    assert [path.name for path in shop.settings.data_dir.glob(".backup-*")] == []
    with pytest.raises(BackupError, match="already"):
        back_up(shop, place)
    elsewhere = {**far, "store": f"s3://{s3_server.new_bucket(s3)}/store"}
    other = Deployment.at(tmp_path / "other", **elsewhere)
    assert restore(other, place) == manifest
    assert other.content() == shop.content()
    other.store.verify(version_of(live_manifest(other.folder, LIVE, 1), f"pawl/{LIVE}"))


def test_a_backup_in_memory_that_was_cut_off_removes_only_its_own(
    shop: Deployment,
) -> None:
    place = f"memory://{uuid4().hex}"
    system = MemoryFileSystem()
    system.pipe_file(f"{place}/mine", b"stays")

    def crash(what: str, _done: int, _total: int) -> None:
        if what == "adapters":
            raise CrashError

    with pytest.raises(CrashError):
        take_backup(shop.settings, place, clock, crash)
    assert [path.rpartition("/")[2] for path in system.find(place)] == ["mine"]
