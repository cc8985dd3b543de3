"""The supervising parent: starts the server, and starts it again when it dies.

The server ends by itself with `EXIT_ENGINE_DEAD` when its engine dies. It and the engine die with
their parent (`server.engine.parent_death`), so kill -9 of any of them leaves no orphan.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

import structlog

LONGEST_PAUSE_SECONDS = 30.0
PROVEN_SECONDS = 60.0
"""A server that ran for so long was healthy: the pause starts small again."""

log = structlog.get_logger()


class Supervisor:
    """Keeps one child process running until it is told to stop."""

    def __init__(self, command: Sequence[str], *, restart_seconds: float) -> None:
        self._command = list(command)
        self._first_pause = restart_seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def run(self) -> int:
        """Run until the child ends well or a signal stops us; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        pause = self._first_pause
        while True:
            started = time.monotonic()
            code = self._run_once()
            if self._stopping or code == 0 or _hopeless(code):
                return max(code, 0) if self._stopping else code
            if time.monotonic() - started > PROVEN_SECONDS:
                pause = self._first_pause
            log.error("server_died", exit_code=code, restart_in_seconds=pause)
            self._wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _run_once(self) -> int:
        if self._stopping:
            return 0
        self._child = subprocess.Popen(self._command)  # noqa: S603  (our own command line)
        if self._stopping:
            self._child.send_signal(signal.SIGTERM)
        return self._child.wait()

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < end:
            time.sleep(0.05)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)


EXIT_SETUP = 2
"""The settings do not allow a start: starting again would not help."""
EXIT_ENGINE_DEAD = 70


def _hopeless(code: int) -> bool:
    return code == EXIT_SETUP


def server_command(arguments: Sequence[str]) -> list[str]:
    """The command line of the child: the same settings, without supervision."""
    return [sys.executable, "-m", "server.process", f"--parent={os.getpid()}", *arguments]
