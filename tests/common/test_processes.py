"""The processes below a process."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from common.processes import family, name_of, running

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"])
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
child.wait()
"""


@pytest.fixture
def parent() -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.communicate()


def test_a_family_is_found_down_to_the_grandchildren(parent: "subprocess.Popen[str]") -> None:
    assert parent.stdout is not None
    grandchild = int(parent.stdout.readline())
    assert list(family(parent.pid)) == [parent.pid, grandchild]
    assert {parent.pid, grandchild} <= set(family(os.getpid()))
    assert name_of(grandchild).startswith("python")


def test_what_has_ended_does_not_run_though_nobody_waited_for_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read() == b""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not running(process.pid)
    process.communicate()
    assert (running(process.pid), name_of(process.pid)) == (False, "")
