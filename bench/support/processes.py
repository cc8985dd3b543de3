"""Finds a server's processes, and those that outlive it."""

import ctypes
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PATIENCE_SECONDS = 5.0
POLL_SECONDS = 0.02
_STATE, _PARENT, _STARTED = 0, 1, 19
"""Places in `/proc/<pid>/stat` behind the name (proc(5))."""

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this new process when the one that started it ends, however it ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process(NamedTuple):
    """One process; its start tells it from a later one of the same id."""

    pid: int
    started: int


def family(pid: int) -> set[Process]:
    """Return a process and its live descendants."""
    children: dict[int, list[int]] = {}
    for other in _pids():
        if fields := _stat(other):
            children.setdefault(int(fields[_PARENT]), []).append(other)
    found, waiting = set(), [pid]
    while waiting:
        one = waiting.pop()
        if (process := _process(one)) is not None:
            found.add(process)
        waiting += children.get(one, [])
    return found


def carrying(mark: str) -> set[Process]:
    """Return the processes whose environment contains `mark`, which descendants inherit."""
    found = set()
    for pid in _pids():
        process = _process(pid)
        if process is not None and mark.encode() in _read(pid, "environ"):
            found.add(process)
    return found


def survivors(processes: Iterable[Process], seconds: float = PATIENCE_SECONDS) -> set[Process]:
    """Return those of `processes` that still run after at most `seconds`."""
    deadline = time.monotonic() + seconds
    living = set(processes)
    while living := {one for one in living if _process(one.pid) == one}:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    return living


def _process(pid: int) -> Process | None:
    """A process that runs; None for one that is gone or has only its status left."""
    fields = _stat(pid)
    if not fields or fields[_STATE] in ("Z", "X"):
        return None
    return Process(pid, int(fields[_STARTED]))


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _stat(pid: int) -> list[str]:
    return _read(pid, "stat").decode(errors="replace").rpartition(")")[2].split()


def _read(pid: int, name: str) -> bytes:
    try:
        return (Path("/proc") / str(pid) / name).read_bytes()
    except OSError:  # it ended meanwhile
        return b""
