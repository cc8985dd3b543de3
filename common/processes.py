"""A process and its descendants."""

from collections.abc import Iterator
from contextlib import suppress

import psutil


def family(pid: int) -> Iterator[int]:
    """Yield `pid` and the ids of its descendants; those that end meanwhile may be missing."""
    yield pid
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            yield child.pid


def running(pid: int) -> bool:
    """Return whether `pid` runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def name_of(pid: int) -> str:
    """Return the process's name, or an empty string if it has ended."""
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else str(process.name())
    except psutil.NoSuchProcess:
        return ""
