"""The trainer as a process: its output, its death, and what the libraries may see of the world."""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, MutableMapping
from pathlib import Path
from types import FrameType

import psutil

from common.parent_death import die_when_parent_thread_ends
from retrain.trainer.errors import JobError, TrainerError
from retrain.trainer.job import Job


def claim_stdout() -> int:
    """Return a descriptor of standard output, and send everybody else's prints to standard error.

    Done on descriptors, so that C libraries are caught too.
    """
    sys.stdout.flush()
    events = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


def die_with_parent(parent_pid: int) -> None:
    """Have this process killed when process `parent_pid`, its parent or an ancestor, is gone.

    The kernel does it for a parent, when the thread ends that started this process. Under a
    launcher the ancestor is watched by a thread. Raises `TrainerError` when it is no ancestor, as
    when it has died already; Linux only.
    """
    die_when_parent_thread_ends()
    if os.getppid() == parent_pid:  # asked after the call above: it may have died before
        return
    try:
        ancestor = os.pidfd_open(parent_pid)
    except ProcessLookupError:
        raise _no_parent(parent_pid) from None
    if parent_pid not in (process.pid for process in psutil.Process().parents()):
        raise _no_parent(parent_pid)
    threading.Thread(target=_die_with, args=(ancestor,), daemon=True).start()


def _die_with(ancestor: int) -> None:
    select.select([ancestor], [], [])
    os.kill(os.getpid(), signal.SIGKILL)


def _no_parent(parent_pid: int) -> TrainerError:
    return TrainerError(
        f"parent_pid: process {parent_pid} is not above this process; "
        "start the trainer from it, or leave parent_pid out"
    )


def on_termination(finish: Callable[[int], None]) -> None:
    """On SIGTERM and SIGINT call `finish` with the exit code, then leave at once.

    It leaves from within the handler: an exception could be swallowed by whatever library code the
    signal interrupts.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        code = 128 + number
        try:
            finish(code)
        finally:
            os._exit(code)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def set_environment(job: Job, scratch: Path, environment: MutableMapping[str, str]) -> None:
    """Set what the libraries read when they are imported, before they are.

    One GPU (TRL refuses several in one process), no network where the model is a folder, no
    progress bars, and temporary files where a killed run's leftovers are found. Raises `JobError`
    under a launcher of several processes, which is not supported.
    """
    if int(environment.get("WORLD_SIZE", "1")) > 1:
        raise JobError("the trainer runs as one process; launch it with --num_processes 1")
    environment.setdefault("CUDA_VISIBLE_DEVICES", "0")
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")
    environment["TQDM_DISABLE"] = "1"
    environment["TMPDIR"] = str(scratch)
    if Path(job.base_model).is_dir():
        environment["HF_HUB_OFFLINE"] = "1"
