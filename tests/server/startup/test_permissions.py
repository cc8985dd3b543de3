"""The data folder is its owner's alone, whatever it was before."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.cli.doctor import examine
from server.errors import SetupError
from server.startup import permissions
from server.startup.data_lock import DataLock
from server.startup.permissions import keep_private, make_private, open_to_others
from tests.integration.processes.serving_process import UNSUPERVISED, chat_body, serving
from tests.server.running_app import running_app, test_settings


@pytest.fixture
def wide_open() -> Iterator[None]:
    """The umask of most machines."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def old_folder(tmp_path: Path, wide_open: None) -> Path:
    """A data folder as a release before left it."""
    del wide_open
    folder = tmp_path / "data"
    (folder / "adapters" / "pawl").mkdir(parents=True)
    (folder / "pawl.db").write_text("prompts")
    (folder / "pawl.db-wal").write_text("prompts")
    (folder / "adapters" / "pawl" / "manifest.json").write_text("{}")
    (folder / "adapters" / "pawl" / "manifest.json").chmod(0o444)
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_an_old_folder_is_narrowed_when_it_is_taken(old_folder: Path) -> None:
    assert list(open_to_others(old_folder))
    DataLock(old_folder).acquire().release()
    assert list(open_to_others(old_folder)) == []
    assert mode(old_folder) == 0o700
    assert mode(old_folder / "pawl.db") == 0o600
    assert mode(old_folder / "adapters" / "pawl" / "manifest.json") == 0o400


def test_a_new_folder_is_private_whatever_the_umask(tmp_path: Path, wide_open: None) -> None:
    del wide_open
    DataLock(tmp_path / "new").acquire().release()
    assert mode(tmp_path / "new") == 0o700
    assert list(open_to_others(tmp_path / "new")) == []


def test_what_a_link_points_to_is_left_alone(old_folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("theirs")
    (old_folder / "link").symlink_to(outside)
    make_private(old_folder)
    assert mode(outside) == 0o644


def test_a_group_that_a_folder_belongs_to_keeps_its_bit(old_folder: Path) -> None:
    old_folder.chmod(0o2775)
    make_private(old_folder)
    assert mode(old_folder) == 0o2700


@pytest.fixture
def not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where everything belongs to somebody else (root may change all, so it is played)."""

    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "chmod", refuse)


def test_a_strangers_folder_that_everybody_writes_to_is_refused(
    old_folder: Path, request: pytest.FixtureRequest
) -> None:
    old_folder.chmod(0o777)
    request.getfixturevalue("not_ours")
    with pytest.raises(SetupError, match=f"chmod -R go-rwx {old_folder}"):
        make_private(old_folder)


def test_a_volume_that_its_group_may_write_to_is_used(
    old_folder: Path, request: pytest.FixtureRequest
) -> None:
    old_folder.chmod(0o2770)
    request.getfixturevalue("not_ours")
    make_private(old_folder)


def test_the_umask_is_for_the_owner_alone(wide_open: None) -> None:
    del wide_open
    keep_private()
    assert os.umask(0o022) == permissions.PRIVATE_UMASK


def test_doctor_says_which_command_narrows_a_folder(old_folder: Path) -> None:
    settings = test_settings(old_folder)
    found = [finding for finding in examine(settings) if finding.name == "permissions"]
    assert [finding.state for finding in found] == ["bad"]
    assert f"chmod -R go-rwx {old_folder}" in found[0].text
    assert "and 5 more" in found[0].text
    make_private(old_folder)
    found = [finding for finding in examine(settings) if finding.name == "permissions"]
    assert [finding.state for finding in found] == ["ok"]


def test_doctor_says_nothing_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    settings = test_settings(tmp_path / "none")
    assert not [finding for finding in examine(settings) if finding.name == "permissions"]


@pytest.mark.anyio
async def test_an_app_in_another_process_keeps_its_folder_private(
    tmp_path: Path, wide_open: None
) -> None:
    del wide_open
    async with running_app(tmp_path / "data"):
        assert mode(tmp_path / "data") == 0o700


@pytest.mark.slow
def test_a_server_leaves_nothing_for_others(old_folder: Path) -> None:
    (old_folder / "pawl.db").unlink()
    (old_folder / "pawl.db-wal").unlink()
    with serving(old_folder, UNSUPERVISED) as server, server.client() as client:
        client.post("/v1/chat/completions", json=chat_body()).raise_for_status()
        assert (old_folder / "pawl.db-wal").exists()
        assert list(open_to_others(old_folder)) == []
