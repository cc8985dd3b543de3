"""Starts fake-engine servers quickly: forked from a process that has imported Pawl already.

Most of a start is importing, which a benchmark of many starts need not repeat. What is forked is
the server itself, with a memory, sockets and threads of its own. Not for the real engine, whose
processes must not be forked.

`python -m bench.support.preloaded` reads orders, a JSON object a line, and answers each with a
process id.
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
        """None while it runs. Its exit status is its parent's to know."""
        return 0 if select.select([self._handle], [], [], 0)[0] else None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises `subprocess.TimeoutExpired`."""
        if not select.select([self._handle], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("forked server", timeout or 0)
        return 0

    def kill(self) -> None:
        """End it at once; nothing where it has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)


class Preloaded:
    """The process that forks servers; ends with its block, and the servers with it."""

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
        """A server with these arguments, which writes to `log`."""
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

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever ends leaves nothing behind
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(order, serve.main)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _become(order: Mapping[str, Any], serve: Any) -> None:
    """Be that server, and end with it."""
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
