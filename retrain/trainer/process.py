"""The trainer as a process: standard output, death with the server, signals, environment."""

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


def claim_stdout() -> int:
    """Return a descriptor of standard output for events; redirect all other output to stderr.

    Redirects the descriptor, so that it covers output of C libraries.
    """
    sys.stdout.flush()
    events = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


def die_with_parent(parent_pid: int) -> None:
    """Kill this process when process `parent_pid`, its parent or another ancestor, dies.

    For a parent the kernel does it, when the thread that started this process ends. With a launcher
    in between, a thread watches the ancestor. Linux only. Raises `TrainerError` if `parent_pid` is
    not an ancestor, for instance because it has died already.
    """
    die_when_parent_thread_ends()
    if os.getppid() == parent_pid:  # checked after the call above, before which it may have died
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
        f"parent_pid: process {parent_pid} is not an ancestor of this process; "
        "start the trainer from it, or leave parent_pid out"
    )


def on_termination(finish: Callable[[int], None]) -> None:
    """On SIGTERM and SIGINT call `finish` with the exit code, then exit immediately.

    The handler exits the process itself, since library code could swallow an exception.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        code = 128 + number
        try:
            finish(code)
        finally:
            os._exit(code)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def set_environment(base_model: str, scratch: Path, environment: MutableMapping[str, str]) -> None:
    """Set the environment variables that torch and transformers read when they are imported.

    Uses one GPU (TRL refuses several in one process), disables the network if the model is a
    folder, disables progress bars, and puts temporary files into the scratch folder, where they
    are removed after a crash. Raises `JobError` under a launcher of several processes, which is not
    supported.
    """
    if int(environment.get("WORLD_SIZE", "1")) > 1:
        raise JobError("the trainer runs as one process; launch it with --num_processes 1")
    environment.setdefault("CUDA_VISIBLE_DEVICES", "0")
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")
    environment["TQDM_DISABLE"] = "1"
    environment["TMPDIR"] = str(scratch)
    if Path(base_model).is_dir():
        environment["HF_HUB_OFFLINE"] = "1"
