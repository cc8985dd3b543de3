"""What the doctor says about the database."""

from pathlib import Path

import pytest

from server.database.address import sqlite_url
from server.database.check import check_database, filesystem_of
from tests.postgres_fixture import TestDatabases

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
store:/a /data nfs4 rw 0 0
/dev/sdb1 /data/local\\040disk xfs rw 0 0
tmpfs /datas tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/pawl.db", "ext4"),
        ("/data/pawl.db", "nfs4"),
        ("/data/local disk/pawl.db", "xfs"),
        ("/datas/pawl.db", "tmpfs"),
    ],
)
def test_a_path_is_on_the_nearest_mount(path: str, kind: str) -> None:
    assert filesystem_of(Path(path), MOUNTS) == kind


def test_a_new_sqlite_file_is_fine_and_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "pawl.db"
    assert [state for state, _ in check_database(sqlite_url(path))] == ["ok"]
    assert not path.exists()


def test_postgresql_that_may_lose_commits_is_bad(postgres: TestDatabases) -> None:
    with postgres.database() as url:
        found = list(check_database(url))  # the tests' own never syncs
    states = {text.split(" ", 1)[0]: state for state, text in found}
    assert states == {"PostgreSQL": "ok", "fsync": "bad", "full_page_writes": "bad"}


def test_one_that_is_away_or_refuses_us_is_bad_and_no_password_is_shown(
    postgres: TestDatabases,
) -> None:
    away = "postgresql://pawl:hidden@127.0.0.1:1/pawl"
    closed = f"postgresql://pawl:hidden@127.0.0.1:{postgres.server.port}/no_such_database"
    found = [*check_database(away), *check_database(closed), *check_database("mysql://x")]
    assert [state for state, _ in found] == ["bad", "bad", "bad"]
    assert not [text for _, text in found if "hidden" in text]
