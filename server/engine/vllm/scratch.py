"""Removes the sockets and shared memory that a killed engine leaves behind.

vLLM removes both only when it shuts down normally. After `kill -9` of all its processes they
remain, and a full /dev/shm would keep an engine from starting. Each engine therefore has a folder
with its sockets and a list of its shared memory, under a file lock that the kernel releases when
the process ends. The next engine removes the folders without a lock, and the files they list.
May go once vLLM cleans up after killed processes itself.
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
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (where Linux keeps it)
_LOCK, _NOTE = "lock", "shared_memory.json"

log = structlog.get_logger()


class Scratch:
    """The folder of one engine; `path` is short enough for the paths of sockets in it."""

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, parent: Path | None = None) -> Self:
        """Create a folder in `parent`; None is the system's temporary folder."""
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        new = path / "new"
        lock = new.open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(path / _LOCK)  # so that it is never seen unlocked
        return cls(path, lock)

    def note(self, names: Iterable[str]) -> None:
        """Record the files in /dev/shm that belong to this engine."""
        inodes = {name: (SHARED_MEMORY / name).stat().st_ino for name in names}
        (self.path / _NOTE).write_text(json.dumps(inodes))

    def remove(self) -> None:
        """Remove the folder after the engine has ended. Safe to call twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def remove_leftovers(parent: Path | None = None) -> None:
    """Remove what this user's dead engines left in `parent` and in /dev/shm."""
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
    """Remove the recorded files, except names that another file has taken; return how many."""
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
    """Return the names of files in /dev/shm that `pid` and its descendants have mapped."""
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
