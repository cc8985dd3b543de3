"""The supervisor: starts the server, and restarts it when it dies or hangs.

The server exits with `EXIT_ENGINE_DEAD` when its engine dies. Server and engine die with their
parent (`common.parent_death`), so kill -9 of any of them leaves no orphan. A serving process sends
heartbeats from its event loop (`server.process.parent_link`); if they stop, it is killed.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

import structlog

from server.config import ServerConfig
from server.engine.watch.watchdog import Liveness, Watchdog
from server.exits import EXIT_SETUP
from server.process.backoff import Backoff
from server.process.parent_link import Heartbeat
from server.process.supervision import Supervision

LOOK_SECONDS = 0.25
"""Seconds that one wait for heartbeats lasts."""
_GAP_SECONDS = 2.0
_ENDED_BY_US = (0, -signal.SIGTERM, -signal.SIGINT)

log = structlog.get_logger()


class Supervisor:
    """Keeps one child process running until a signal stops it.

    The child gets its own process group, so that the terminal's Ctrl-C reaches it only once,
    through the supervisor, and never reaches its engine.

    Args:
        command: The child's command line; `--supervision` is added to it.
        backoff: The pauses between a death and the next start.
        hang_seconds: Seconds without a heartbeat after which a serving child is killed.
        monotonic: Returns seconds of a monotonic clock.

    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        backoff: Backoff,
        hang_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = list(command)
        self._backoff = backoff
        self._hang_seconds = hang_seconds
        self._monotonic = monotonic
        self._child: subprocess.Popen[bytes] | None = None
        self._restarts = 0
        self._stopping = False

    def run(self) -> int:
        """Run until the child exits with 0 or a signal arrives; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        deaths = 0
        while not self._stopping:
            code, served_seconds = self._run_once()
            if self._stopping:
                return 0 if code in _ENDED_BY_US else _shell_status(code)
            if code == 0 or (code == EXIT_SETUP and served_seconds is None):
                return code  # wrong settings: a restart would fail too
            deaths = self._backoff.deaths(deaths, served_seconds or 0.0)
            self._restarts += 1
            self._log_death(code, served_seconds or 0.0, deaths)
            self._wait(self._backoff.pause(deaths))
        return 0

    def _run_once(self) -> tuple[int, float | None]:
        """Run the child once; return its exit status and the seconds it served (None: never)."""
        pulse = Heartbeat()
        supervision = Supervision(os.getpid(), pulse.writer, self._restarts)
        self._child = subprocess.Popen(  # noqa: S603  (our own command line)
            [*self._command, supervision.option], pass_fds=[pulse.writer], process_group=0
        )
        pulse.handed_over()
        if self._stopping:
            self._child.send_signal(signal.SIGTERM)
        try:
            served_from = self._watch(self._child, pulse)
            pulse.listen(0)  # the remaining heartbeats of a child that exited at once
            if served_from is None and pulse.beats:
                served_from = self._monotonic()
        finally:
            pulse.close()
        code = self._child.wait()
        return code, None if served_from is None else self._monotonic() - served_from

    def _watch(self, child: "subprocess.Popen[bytes]", pulse: Heartbeat) -> float | None:
        """Watch the child until its end, killing it if it hangs; return when it began to serve."""
        watchdog = Watchdog(self._hang_seconds, self._hang_seconds, _GAP_SECONDS)
        served_from = None
        while child.poll() is None and pulse.listen(LOOK_SECONDS):
            _reap_others(child.pid)
            if not pulse.beats:
                continue
            if served_from is None:
                served_from = self._monotonic()
            if watchdog.look(self._monotonic(), progress=pulse.beats, busy=True) is Liveness.HUNG:
                log.error("server_hangs", silent_seconds=round(watchdog.stalled_seconds, 1))
                child.kill()
        return served_from

    def _log_death(self, code: int, served_seconds: float, deaths: int) -> None:
        log.error(
            "server_died",
            exit_code=code,
            served_seconds=round(served_seconds, 1),
            deaths_in_a_row=deaths,
            restarts=self._restarts,
            restart_in_seconds=self._backoff.pause(deaths),
        )

    def _wait(self, seconds: float) -> None:
        end = self._monotonic() + seconds
        while not self._stopping and self._monotonic() < end:
            time.sleep(0.05)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)


def _reap_others(child: int) -> None:
    """Reap other exited processes: as pid 1 of a container the supervisor inherits orphans."""
    anyone = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while (dead := os.waitid(os.P_ALL, 0, anyone)) is not None and dead.si_pid != child:
        os.waitpid(dead.si_pid, 0)


def _shell_status(code: int) -> int:
    """Return the exit status in the shells' convention: 128 + n for a child killed by signal n."""
    return code if code > 0 else 128 - code


def supervisor(command: Sequence[str], config: ServerConfig) -> Supervisor:
    """Return a supervisor that uses the settings' times."""
    backoff = Backoff(config.restart_seconds, config.proven_seconds)
    return Supervisor(command, backoff=backoff, hang_seconds=config.hang_seconds)


def server_command(arguments: Sequence[str]) -> list[str]:
    """Return the child's command line, without the supervision option."""
    return [sys.executable, "-m", "server.process.serve", *arguments]
