"""The keeper: a process that kills the trainer's process group once the server has died.

The kernel kills the trainer when its parent dies (`process.die_with_parent`), but not the trainer's
children, such as data loaders and compilers. The keeper is a member of the trainer's group that
waits for the death of the server.
"""

import os
import select
import signal

PATIENCE_SECONDS = 10.0
"""Seconds the keeper keeps running after the trainer has ended, in case the server dies before it
has killed the group itself."""


def keep_group(parent_pid: int) -> None:
    """Fork a process that kills this process's group when process `parent_pid` dies. Linux only.

    Does nothing if the parent is in the same group. Call it before starting threads, since it
    forks.
    """
    group = os.getpgrp()
    try:
        if os.getpgid(parent_pid) == group:
            return
        parent = os.pidfd_open(parent_pid)
    except ProcessLookupError:
        return  # `die_with_parent` raises the error
    trainer = os.pidfd_open(os.getpid())
    if os.fork() == 0:
        _keep(parent, trainer, group)
    os.close(parent)
    os.close(trainer)


def _keep(parent: int, trainer: int, group: int) -> None:
    """Wait until the parent or the trainer has ended; never returns."""
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # they are meant for the trainer
        _close_files_except(parent, trainer)
        select.select([parent, trainer], [], [])
        if select.select([parent], [], [], PATIENCE_SECONDS)[0]:
            os.killpg(group, signal.SIGKILL)
    finally:
        os._exit(0)


def _close_files_except(*kept: int) -> None:
    """Close all other descriptors, so that the trainer's output ends when the trainer does."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
