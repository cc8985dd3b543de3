"""The processes below a process."""

from collections.abc import Iterator
from contextlib import suppress

import psutil


def family(pid: int) -> Iterator[int]:
    """`pid` and all processes below it; those that end meanwhile may be missing."""
    yield pid
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            yield child.pid


def running(pid: int) -> bool:
    """Whether `pid` still runs; one that has ended and was not waited for does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def name_of(pid: int) -> str:
    """What the process calls itself; empty where it has ended."""
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else str(process.name())
    except psutil.NoSuchProcess:
        return ""
