"""Run trainers as subprocesses of the server.

Each trainer leads its own process group, so that its children can be killed with it and Ctrl-C in
the terminal only reaches the server. A trainer that descends from the server is killed when the
server dies, even with a launcher in between (it watches the job's `parent_pid`), and so is its
group (`retrain.trainer.keeper`). A trainer that survives nevertheless is found by its pid file and
killed before the job is started again.
"""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, SubprocessStreamProtocol
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path

import structlog
from pydantic import ValidationError

from common.files import write_whole
from retrain.config import TrainerConfig
from retrain.errors import TrainingError
from retrain.trainer.events import Event, parse_event

STDERR, PID = "trainer.log", "trainer.pid"
LINE_MAX = 1 << 20
"""Longest event line in bytes."""
LOG_MAX = 1 << 18
"""Bytes of standard error per log file; the current file and the one before are kept."""
PIPES_SECONDS = 5.0
"""Seconds the pipes of an exited trainer may stay open before they are closed."""

_log = structlog.get_logger()


class SubprocessLauncher:
    """Starts `command job.json`. Implements `retrain.ports.Launcher`."""

    def __init__(self, config: TrainerConfig) -> None:
        self._config = config

    @property
    def parent_pid(self) -> int | None:
        """The pid of this process, if the trainer is its descendant."""
        return os.getpid() if self._config.descendant else None

    async def launch(self, job_path: Path) -> "SubprocessTrainer":
        """See `Launcher`. Standard error is written to `trainer.log` in the job's folder."""
        loop = asyncio.get_running_loop()
        try:
            transport, pipes = await loop.subprocess_exec(
                lambda: _Pipes(loop),
                *self._config.command,
                str(job_path),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=PIPE,
                env=trainer_environment(os.environ),
                start_new_session=True,
            )
        except OSError as error:
            command = self._config.command[0]
            raise TrainingError(f"{command} cannot be started: {error.strerror}") from error
        trainer = SubprocessTrainer(
            transport, pipes, job_path.parent, self._config.terminate_seconds
        )
        birth = f"{trainer.pid} {_started(trainer.pid)}"
        try:
            write_whole(job_path.with_name(PID), birth.encode())
        except OSError:  # a full disk: without a pid file the trainer could not be found again
            await trainer.terminate()
            raise
        return trainer

    async def kill_leftover(self, job_path: Path) -> None:
        """See `Launcher`. Spares a process with the same pid but another start time."""
        try:
            pid, started = job_path.with_name(PID).read_text("ascii").split()
        except (FileNotFoundError, ValueError):
            return
        if started != "None" and _started(int(pid)) == int(started):
            _log.warning("leftover_trainer_killed", pid=int(pid))
            with suppress(ProcessLookupError):
                os.killpg(int(pid), signal.SIGKILL)


class _Pipes(SubprocessStreamProtocol):
    """Tells when the process has exited, and when its pipes are closed.

    `asyncio.subprocess.Process.wait` also waits for the pipes, which children may keep open.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=LINE_MAX, loop=loop)
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()

    def process_exited(self) -> None:
        """Called by the transport."""
        self.exited.set()
        super().process_exited()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport, once the process has exited and its pipes are closed."""
        self.closed.set()
        super().connection_lost(exc)


class SubprocessTrainer:
    """A running trainer. Implements `retrain.ports.TrainerProcess`."""

    def __init__(
        self,
        transport: asyncio.SubprocessTransport,
        pipes: _Pipes,
        folder: Path,
        terminate_seconds: float,
    ) -> None:
        self._transport = transport
        self._pipes = pipes
        self._folder = folder
        self._terminate_seconds = terminate_seconds
        self._stderr = asyncio.create_task(self._keep_stderr())
        self._ending = asyncio.create_task(self._close_after_exit())

    @property
    def pid(self) -> int:
        """The pid of the process and of its group."""
        return self._transport.get_pid()

    async def events(self) -> AsyncIterator[Event]:
        """See `TrainerProcess`."""
        output = self._pipes.stdout
        assert output is not None  # noqa: S101 - launched with PIPE
        async for line in output:
            try:
                event = parse_event(line)
            except ValidationError:
                continue
            yield event

    async def wait(self) -> int:
        """See `TrainerProcess`."""
        # Shielded: a caller that is cancelled here terminates the trainer and waits again.
        await asyncio.shield(asyncio.gather(self._ending, self._stderr))
        code = self._transport.get_returncode()
        assert code is not None  # noqa: S101 - it has exited
        return code

    async def terminate(self) -> None:
        """See `TrainerProcess`."""
        if not self._pipes.exited.is_set():
            self._signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(self._terminate_seconds):
                    await self._pipes.exited.wait()
            except TimeoutError:
                _log.warning("trainer_killed", pid=self.pid)
        self._signal(signal.SIGKILL)  # also its remaining children and the keeper
        await self.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def _close_after_exit(self) -> None:
        """Kill an exited trainer's group; close pipes that other processes keep open."""
        await self._pipes.exited.wait()
        self._signal(signal.SIGKILL)
        try:
            async with asyncio.timeout(PIPES_SECONDS):
                await self._pipes.closed.wait()
        except TimeoutError:
            _log.warning("trainer_pipes_closed", pid=self.pid)
            self._transport.close()

    async def _keep_stderr(self) -> None:
        """Copy standard error to a file; a full disk does not stop the trainer."""
        errors = self._pipes.stderr
        assert errors is not None  # noqa: S101 - launched with PIPE
        complete = True
        while chunk := await errors.read(1 << 14):
            try:
                _append(self._folder / STDERR, chunk)
            except OSError as error:
                if complete:
                    _log.warning("trainer_log_incomplete", pid=self.pid, error=error.strerror)
                complete = False


def _append(path: Path, chunk: bytes) -> None:
    """Append to a file; rotate it when it is full."""
    if path.exists() and path.stat().st_size + len(chunk) > LOG_MAX:
        path.replace(path.with_suffix(".log.1"))
    with path.open("ab") as log:
        log.write(chunk)


def trainer_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the server's settings, which may contain secrets."""
    return {name: value for name, value in environment.items() if not name.startswith("PAWL_")}


def _started(pid: int) -> int | None:
    """Return a process's start time in clock ticks since boot (Linux), or None if there is none.

    The pair of pid and start time identifies a process, since pids are reused.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])
