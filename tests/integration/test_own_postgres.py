"""The PostgreSQL that tests and benchmarks start ends with them."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.support.postgres import UNSYNCED, running_postgres
from bench.support.processes import family, survivors

pytestmark = pytest.mark.slow

STARTER = """
import sys
from bench.support.postgres import UNSYNCED, running_postgres
with running_postgres(UNSYNCED):
    print("started", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter: PostgreSQL does not run as root."""
    with tempfile.TemporaryDirectory(prefix="pawl-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_it_ends_with_a_starter_that_is_killed(open_folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(open_folder)},
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "started\n"
        processes = family(starter.pid)
        starter.kill()
    assert len(processes) > 3
    assert survivors(processes, seconds=30) == set()


def test_what_was_committed_outlives_a_crash_and_a_pause() -> None:
    with running_postgres(UNSYNCED) as server:
        server.execute("CREATE TABLE word (said TEXT)")
        server.execute("INSERT INTO word VALUES ('kept')")
        server.pause()
        server.kill()
        server.start()
        assert server.execute("SELECT said FROM word") == [("kept",)]
