"""What engines leave behind: removed once they are dead, and never before."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from server.engine.vllm.scratch import (
    SHARED_MEMORY,
    Scratch,
    remove_leftovers,
    shared_memory_below,
)

HOLD = """
import os, sys
from multiprocessing import resource_tracker, shared_memory
from pathlib import Path
from server.engine.vllm.scratch import Scratch, shared_memory_below
memory = shared_memory.SharedMemory(create=True, size=4096)
resource_tracker.unregister("/" + memory.name, "shared_memory")  # as if its tracker were killed too
scratch = Scratch.create(Path(sys.argv[1]))
scratch.note(shared_memory_below(os.getpid()))
print(memory.name, flush=True)
sys.stdin.read()
"""


@contextmanager
def engine(parent: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A process with a scratch folder and shared memory of its own; killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    try:
        yield process, name
    finally:
        process.kill()
        process.communicate()
        (SHARED_MEMORY / name).unlink(missing_ok=True)


def test_what_a_killed_engine_left_is_removed(tmp_path: Path) -> None:
    with engine(tmp_path) as (process, name):
        process.kill()
        process.wait()
        assert (SHARED_MEMORY / name).exists()
        remove_leftovers(tmp_path)
        assert not (SHARED_MEMORY / name).exists()
        assert list(tmp_path.iterdir()) == []


def test_what_a_living_engine_uses_stays(tmp_path: Path) -> None:
    with engine(tmp_path) as (_, name):
        remove_leftovers(tmp_path)
        assert (SHARED_MEMORY / name).exists()
        assert len(list(tmp_path.iterdir())) == 1


def test_a_name_that_is_another_file_by_now_stays(tmp_path: Path) -> None:
    with engine(tmp_path) as (process, name):
        process.kill()
        process.wait()
        other = SharedMemory(create=True, size=4096)  # an inode of its own, under the old name
        (SHARED_MEMORY / other.name).rename(SHARED_MEMORY / name)
        remove_leftovers(tmp_path)
        assert (SHARED_MEMORY / name).exists()
        (SHARED_MEMORY / name).rename(SHARED_MEMORY / other.name)
        other.close()
        other.unlink()


@pytest.mark.parametrize("note", ["", "{", None], ids=["empty", "half", "none"])
def test_a_folder_with_half_a_note_is_removed(tmp_path: Path, note: str | None) -> None:
    scratch = Scratch.create(tmp_path)
    if note is not None:
        (scratch.path / "shared_memory.json").write_text(note)
    scratch._lock.close()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_just_being_made_stays(tmp_path: Path) -> None:
    (tmp_path / "pawl-engine-new").mkdir()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pawl-engine-new"]


def test_an_engine_that_ended_well_leaves_nothing(tmp_path: Path) -> None:
    scratch = Scratch.create(tmp_path)
    scratch.note([])
    scratch.remove()
    scratch.remove()
    assert list(tmp_path.iterdir()) == []


def test_only_what_the_process_maps_is_its_own(tmp_path: Path) -> None:
    mine = SharedMemory(create=True, size=4096)
    try:
        with engine(tmp_path) as (process, name):
            assert shared_memory_below(process.pid) == {name}
    finally:
        mine.close()
        mine.unlink()
