"""A small disk that can be filled: a tmpfs, or a file size limit if mounting is not permitted.

The limit is the kernel's on the size of a process's files (RLIMIT_FSIZE). At the limit every write
that would enlarge a file fails, as on a full disk.
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
    """A folder on a small disk; `mounted` is False if only a limit simulates the disk."""

    folder: Path
    mounted: bool

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def fill(self, pid: int) -> None:
        """Fill the disk, at least for the process `pid`."""
        if not self.mounted:
            size = max(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            return
        with self._filler.open("ab", buffering=0) as file:
            for chunk in (MEBIBYTE, 4096, 1):
                _write_until_full(file.fileno(), chunk)

    def free(self, pid: int) -> None:
        """Free the space again."""
        if not self.mounted:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[SmallDisk]:
    """Mount a disk of `mebibytes` MiB on the empty `folder` until the block ends."""
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
