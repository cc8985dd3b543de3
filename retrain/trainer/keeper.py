"""The keeper: a process that ends the trainer's whole group once the server is gone.

The kernel kills the trainer with its parent (`process.die_with_parent`), but nobody would kill what
the trainer has started: workers that load data, compilers. The keeper is of the trainer's group and
holds nothing but a look at the server.
"""

import os
import select
import signal

PATIENCE_SECONDS = 10.0
"""After the trainer's end the server ends the group, keeper included, or else it goes."""


def keep_group(parent_pid: int) -> None:
    """Have this process's group killed when process `parent_pid` is gone; Linux only.

    Not a group that the parent itself is of. Call it before any thread is started: it forks.
    """
    group = os.getpgrp()
    try:
        if os.getpgid(parent_pid) == group:
            return
        parent = os.pidfd_open(parent_pid)
    except ProcessLookupError:
        return  # `die_with_parent` says so
    trainer = os.pidfd_open(os.getpid())
    if os.fork() == 0:
        _keep(parent, trainer, group)
    os.close(parent)
    os.close(trainer)


def _keep(parent: int, trainer: int, group: int) -> None:
    """Wait for the end of either; never returns."""
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # meant for the trainer
        _let_go_of_files(parent, trainer)
        select.select([parent, trainer], [], [])
        if select.select([parent], [], [], PATIENCE_SECONDS)[0]:
            os.killpg(group, signal.SIGKILL)
    finally:
        os._exit(0)


def _let_go_of_files(*kept: int) -> None:
    """Close everything else: who reads the trainer's output waits for its end, not for ours."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
