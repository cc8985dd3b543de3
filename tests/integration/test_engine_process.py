"""No process of the engine outlives its parent, and its death does not go unnoticed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.xdist_group("engine"),
    pytest.mark.timeout(300),
]

PATIENCE_SECONDS = 20.0


class EngineProcess:
    """`tests.integration.engine_process`, and the processes below it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def line(self) -> dict[str, Any]:
        """The next line of JSON; vLLM's own lines are passed over."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                said: dict[str, Any] = json.loads(line)
                return said
        raise AssertionError("the engine process ended without a word")

    def below(self) -> list[int]:
        """All processes below it."""
        children: dict[int, list[int]] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            if (parent := parent_of(folder)) is not None:
                children.setdefault(parent, []).append(int(folder.name))
        found, todo = [], [self.process.pid]
        while todo:
            todo += (below := children.get(todo.pop(), []))
            found += below
        return found

    def named(self, name: str) -> int:
        """The one below it with this name."""
        (pid,) = [pid for pid in self.below() if name_of(pid).startswith(name)]
        return pid


def parent_of(folder: Path) -> int | None:
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1])


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def running(pid: int) -> bool:
    """Whether `pid` still runs; a zombie that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_gone(pids: list[int]) -> list[int]:
    """Those of `pids` that still run when patience ends."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (left := [pid for pid in pids if running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


@contextmanager
def engine_process(model: Path, method: str) -> Iterator[EngineProcess]:
    """A process whose engine answers; killed with all that is below it in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.processes.engine_process", str(model), method],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"VLLM_LOGGING_LEVEL": "ERROR"},
    )
    one = EngineProcess(process)
    below: list[int] = []
    try:
        assert one.line() == {"ready": True}
        below = one.below()
        yield one
    finally:
        process.kill()
        for pid in filter(running, below):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_killed_server_leaves_no_process(tiny_model: Path, method: str) -> None:
    with engine_process(tiny_model, method) as one:
        below = one.below()
        assert any(name_of(pid).startswith("VLLM") for pid in below)
        one.process.kill()
        assert wait_gone(below) == []


@pytest.mark.parametrize(("method", "victim"), [("spawn", "VLLM::Worker"), ("fork", "VLLM::Engin")])
def test_a_dead_engine_is_noticed_everywhere(tiny_model: Path, method: str, victim: str) -> None:
    with engine_process(tiny_model, method) as one:
        os.kill(one.named(victim), signal.SIGKILL)
        assert_over(one.line())
        assert one.line() == {"closed": True}
        assert one.process.wait(PATIENCE_SECONDS) == 3


def test_closing_ends_streams_with_an_error_and_leaves_no_process(tiny_model: Path) -> None:
    with engine_process(tiny_model, "fork") as one:
        below = one.below()
        assert one.process.stdin is not None
        one.process.stdin.write("close\n")
        one.process.stdin.flush()
        assert_over(one.line())
        assert one.line() == {"closed": True}
        assert one.process.wait(PATIENCE_SECONDS) == 0
        assert wait_gone(below) == []


def assert_over(facts: dict[str, Any]) -> None:
    """Streams in flight ended with an error event, and nothing else is answered."""
    ends = facts.pop("ends")
    assert ends
    assert all(error.startswith('data: {"error"') for error, _ in ends)
    assert {end for _, end in ends} == {"data: [DONE]\n\n"}
    assert facts == {
        "alive": False,
        "in_flight": 0,
        "answer": "EngineDeadError",
        "probe": "EngineDeadError",
    }
