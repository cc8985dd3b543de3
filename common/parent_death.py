"""Ends a process when its parent ends, even by `kill -9` (Linux)."""

import ctypes
import multiprocessing
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends (prctl(2), PR_SET_PDEATHSIG).

    Does nothing in a process that multiprocessing did not start. For the kernel the parent is the
    *thread* that started the process: start an engine in a thread that lives as long as the
    engine, preferably the main one. Raises `OSError` if the kernel refuses.
    """
    parent = multiprocessing.parent_process()
    if parent is None or not sys.platform.startswith("linux"):
        return
    die_when_parent_thread_ends()
    if not parent.is_alive():
        # The parent ended before prctl was called, so no signal will come.
        os.kill(os.getpid(), signal.SIGKILL)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent, the process `parent`, ends.

    Raises `OSError` if the kernel refuses.
    """
    if not sys.platform.startswith("linux"):
        return
    die_when_parent_thread_ends()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def die_when_parent_thread_ends() -> None:
    """Ask the kernel for SIGKILL when the parent thread ends. Raises `OSError` if it refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
