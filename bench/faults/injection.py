"""Injects a kill or an error at a chosen system call of a running process, with strace.

strace counts by thread: `when` 3 is the third call of its kind in the first thread that makes
three. The process continues untraced when strace ends.
"""

import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE_SECONDS = 30.0
WRITING = (
    *("openat", "mkdir", "rename", "unlink", "unlinkat", "rmdir", "write", "pwrite64", "ftruncate"),
    *("chmod", "fchmodat", "fsync", "fdatasync", "sendfile", "copy_file_range"),
)
"""The system calls that change a disk."""
_CALL = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\(")


@dataclass(frozen=True, slots=True)
class Fault:
    """`how` is `signal=KILL` or `error=ENOSPC`, at a thread's `when`-th `call` (from 1)."""

    call: str
    when: int
    how: str

    @property
    def arguments(self) -> list[str]:
        """The arguments of strace."""
        return [f"--trace={self.call}", f"--inject={self.call}:{self.how}:when={self.when}"]


@contextmanager
def injected(pid: int, fault: Fault, log: Path) -> Iterator[None]:
    """Inject the fault into all present and future threads of the process `pid`."""
    with _attached(pid, fault.arguments, log):
        yield


@contextmanager
def counted(pid: int, log: Path, counts: Counter[str]) -> Iterator[None]:
    """Count the writing calls during the block: for each, the maximum over the threads."""
    with _attached(pid, [f"--trace={','.join(WRITING)}"], log):
        yield
    by_thread: Counter[tuple[str, str]] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        if (found := _CALL.match(line)) is not None:
            by_thread[found["name"], found["thread"]] += 1
    for (name, _), times in by_thread.items():
        counts[name] = max(counts[name], times)


def happened(log: Path) -> bool:
    """Return whether the fault occurred."""
    text = log.read_text(errors="replace")
    return "INJECTED" in text or "killed by SIGKILL" in text


@contextmanager
def _attached(pid: int, arguments: list[str], log: Path) -> Iterator[None]:
    log.unlink(missing_ok=True)
    strace = shutil.which("strace") or "strace"
    command = [strace, "--follow-forks", f"--attach={pid}", f"--output={log}", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tracer:
        try:
            _wait_for_all_threads(pid, tracer)
            yield
        finally:
            tracer.terminate()  # detaches from the process


def _wait_for_all_threads(pid: int, tracer: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and tracer.poll() is None:
        if _traced(pid, tracer.pid):
            return
        time.sleep(0.005)
    raise RuntimeError("strace did not attach: is it installed, and may it trace?")


def _traced(pid: int, tracer: int) -> bool:
    statuses = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return bool(statuses) and all(f"TracerPid:\t{tracer}\n" in status for status in statuses)
