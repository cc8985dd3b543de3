"""However the server ends, its trainer ends, and all that the trainer has started."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.test_engine_process import running, wait_gone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SERVER = """
import subprocess, sys
trainer = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(__import__("os").getpid())],
                           start_new_session=True)
trainer.wait()
sys.stdin.read()
"""
TRAINER = """
import signal, subprocess, sys
from retrain.trainer.keeper import keep_group
from retrain.trainer.process import die_with_parent
server = int(sys.argv[1])
keep_group(server)
die_with_parent(server)
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(__import__("os").getpid(), worker.pid, flush=True)
signal.pause()
"""


@contextmanager
def family() -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """A server with a trainer, and a worker of the trainer's."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, TRAINER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        trainer, worker = (int(word) for word in server.stdout.readline().split())
        try:
            yield server, trainer, worker
        finally:
            server.kill()


def keepers(trainer: int) -> list[int]:
    """The processes of the trainer's group beside itself and its worker."""
    group = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == trainer and fields[0] != "Z":
            group.append(int(folder.name))
    return group


def test_a_killed_server_takes_trainer_and_workers_with_it() -> None:
    with family() as (server, trainer, worker):
        group = keepers(trainer)
        assert len(group) == 3
        os.kill(server.pid, signal.SIGKILL)
        assert wait_gone([trainer, worker, *group]) == []


def test_a_trainer_and_a_server_that_are_killed_at_once_leave_no_worker() -> None:
    with family() as (server, trainer, worker):
        group = keepers(trainer)
        os.kill(trainer, signal.SIGKILL)
        os.kill(server.pid, signal.SIGKILL)
        assert wait_gone([trainer, worker, *group]) == []


def test_the_keeper_hears_no_signal_that_is_meant_for_the_trainer() -> None:
    with family() as (server, trainer, worker):
        (keeper,) = set(keepers(trainer)) - {trainer, worker}
        os.kill(keeper, signal.SIGTERM)
        os.kill(keeper, signal.SIGINT)
        assert running(keeper)
        os.kill(server.pid, signal.SIGKILL)
        assert wait_gone([trainer, worker, keeper]) == []


def test_a_parent_of_the_same_group_is_not_killed_with_it() -> None:
    code = "import os; from retrain.trainer.keeper import keep_group; keep_group(os.getppid())"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 0
