"""Starts fake-engine servers quickly: forked from a process that has imported Pawl already.

Most of the start is spent on imports, which a benchmark with many starts need not repeat. The
forked process is the server itself, with its own memory, sockets and threads. Not for the real
engine, whose processes must not be forked.

`python -m bench.support.preloaded` reads orders, one JSON object a line, and prints a process id
for each.
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from bench.support.processes import die_with_parent


class Forked:
    """A server that was forked; offers what is used of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return None while it runs, else 0: only its parent knows its exit status."""
        return 0 if select.select([self._handle], [], [], 0)[0] else None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises `subprocess.TimeoutExpired`."""
        if not select.select([self._handle], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("forked server", timeout or 0)
        return 0

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)


class Preloaded:
    """The process that forks servers; it and the servers end with the block."""

    def __enter__(self) -> "Preloaded":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.support.preloaded"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509  (it only asks the kernel)
        )
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            _there(pipe).close()

    def start(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> Forked:
        """Start a server with these arguments and the log file `log`."""
        order = {"arguments": [*arguments], "log": str(log), "environment": {**environment}}
        wishes = _there(self._process.stdin)
        wishes.write(json.dumps(order) + "\n")
        wishes.flush()
        return Forked(int(_there(self._process.stdout).readline()))


def _there(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise ValueError("the process was started without pipes")
    return pipe


def main() -> None:
    """Fork a server for each order."""
    from server.process import serve  # noqa: PLC0415  (what takes the time)

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children that end leave no zombie
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(order, serve.main)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _become(order: Mapping[str, Any], serve: Any) -> None:
    """Run the server in this process, then exit."""
    import typer  # noqa: PLC0415

    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with Path(order["log"]).open("ab") as log, Path(os.devnull).open("rb") as nothing:
        for number, file in enumerate((nothing, log, log)):
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = ["server.process.serve", *order["arguments"]]
    typer.run(serve)
    os._exit(0)


if __name__ == "__main__":
    main()
