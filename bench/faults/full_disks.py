"""A small disk that can be filled: a tmpfs of one's own, or, without the right to mount, a limit.

The limit is the kernel's on the size of a process's files (RLIMIT_FSIZE): at it every write that
would let a file grow fails, as on a full disk.
"""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A folder on it. `mounted`: it is a disk of its own."""

    folder: Path
    mounted: bool

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def fill(self, pid: int) -> None:
        """Leave no byte free, for the process `pid` at least."""
        if not self.mounted:
            size = max(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            return
        with self._filler.open("ab", buffering=0) as file:
            for chunk in (MEBIBYTE, 4096, 1):
                _write_until_full(file.fileno(), chunk)

    def free(self, pid: int) -> None:
        """Make room again."""
        if not self.mounted:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[SmallDisk]:
    """A disk of so many MiB, mounted on the empty `folder`; gone in the end."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "pawl-small-disk", str(folder)]
    mounted = _run(mount)
    try:
        yield SmallDisk(folder, mounted)
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def _run(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _write_until_full(descriptor: int, chunk: int) -> None:
    while True:
        try:
            os.write(descriptor, bytes(chunk))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return
