"""The lock on a data folder, with real processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from server.errors import SetupError
from server.startup.data_lock import DataLock, RunningServer, running_server

HOLD = """
import sys
from pathlib import Path
from server.startup.data_lock import DataLock, RunningServer
lock = DataLock(Path(sys.argv[1])).acquire()
lock.announce(RunningServer(url="http://127.0.0.1:1", token="t", pid=1))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def _kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def test_a_second_server_is_told_to_look_elsewhere(
    tmp_path: Path, holder: "subprocess.Popen[str]"
) -> None:
    with pytest.raises(SetupError, match="another server"):
        DataLock(tmp_path).acquire()
    _kill(holder)


def test_the_running_server_is_found_and_a_dead_one_is_not(
    tmp_path: Path, holder: "subprocess.Popen[str]"
) -> None:
    assert running_server(tmp_path) == RunningServer("http://127.0.0.1:1", "t", 1)
    _kill(holder)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert running_server(tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_note_is_for_its_owner_only(tmp_path: Path) -> None:
    lock = DataLock(tmp_path).acquire()
    lock.announce(RunningServer("http://127.0.0.1:1", "secret", 1))
    assert (tmp_path / "server.json").stat().st_mode & 0o077 == 0
    lock.release()
