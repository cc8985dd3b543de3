"""What an engine leaves behind when it is killed: sockets in the temporary folder, shared memory.

vLLM removes both when it ends well. After kill -9 of everything at once nobody does, and what piles
up in /dev/shm keeps an engine from starting one day. So each engine has a folder of its own with
its sockets and a note of its shared memory, under a lock that the kernel lets go with the process;
the next engine removes what no process holds any more.
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

import structlog

from common.processes import family

PREFIX = "pawl-engine-"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (Linux' own place)
_LOCK, _NOTE = "lock", "shared_memory.json"

log = structlog.get_logger()


class Scratch:
    """The folder of one engine. `path` is short enough for sockets in it."""

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, parent: Path | None = None) -> Self:
        """Make one below `parent`, the temporary folder unless told otherwise."""
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        new = path / "new"
        lock = new.open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(path / _LOCK)  # nobody finds it before it is locked
        return cls(path, lock)

    def note(self, names: Iterable[str]) -> None:
        """Note the files in /dev/shm that are this engine's."""
        inodes = {name: (SHARED_MEMORY / name).stat().st_ino for name in names}
        (self.path / _NOTE).write_text(json.dumps(inodes))

    def remove(self) -> None:
        """Remove it: the engine has ended. Safe to call twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def remove_leftovers(parent: Path | None = None) -> None:
    """Remove what dead engines of this user have left below `parent` and in /dev/shm."""
    for folder in (parent or Path(tempfile.gettempdir())).glob(f"{PREFIX}*"):
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            continue
        with suppress(FileNotFoundError), (folder / _LOCK).open("r+") as lock:
            if _abandoned(lock):
                log.info("engine_leftovers_removed", files=_remove_noted(folder))
                shutil.rmtree(folder, ignore_errors=True)


def _abandoned(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_noted(folder: Path) -> int:
    """Remove the noted shared memory, unless the name is another's by now; how many there were."""
    try:
        inodes: dict[str, int] = json.loads((folder / _NOTE).read_text())
    except (FileNotFoundError, ValueError):
        return 0
    removed = 0
    for name, inode in inodes.items():
        with suppress(FileNotFoundError):
            if (SHARED_MEMORY / name).stat().st_ino == inode:
                (SHARED_MEMORY / name).unlink()
                removed += 1
    return removed


def shared_memory_below(pid: int) -> set[str]:
    """The files in /dev/shm that `pid` and the processes below it have mapped."""
    return {name for process in family(pid) for name in _mapped(process)}


def _mapped(pid: int) -> Iterator[str]:
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, name = line.partition(f"{SHARED_MEMORY}/")
        if name and not name.endswith(" (deleted)"):
            yield name
