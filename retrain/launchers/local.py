"""Trainers as subprocesses of this process.

Each leads a process group of its own, so that whatever it starts ends with it, and the terminal's
Ctrl-C reaches the server alone. A trainer below this process dies with it, a launcher in between or
not (it watches the job's `parent_pid`), and so does its group (`retrain.trainer.keeper`). What an
earlier process left behind all the same is found by its pid file and killed before the job is
started again.
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
LOG_MAX = 1 << 18
"""Bytes of standard error in one file; the part before it is kept too."""
PIPES_SECONDS = 5.0
"""So long the pipes of a trainer that has exited may stay open."""

_log = structlog.get_logger()


class SubprocessLauncher:
    """Starts `command job.json`. Satisfies `retrain.ports.Launcher`."""

    def __init__(self, config: TrainerConfig) -> None:
        self._config = config

    @property
    def parent_pid(self) -> int | None:
        """Our own pid, where the trainer is below us in the process tree."""
        return os.getpid() if self._config.descendant else None

    async def launch(self, job_path: Path) -> "SubprocessTrainer":
        """See `Launcher`; standard error is kept in `trainer.log` beside the job."""
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
        except OSError:  # a full disk: what nobody could find again does not run
            await trainer.terminate()
            raise
        return trainer

    async def end_leftover(self, job_path: Path) -> None:
        """See `Launcher`. A process of the same pid that started at another time is left alone."""
        try:
            pid, started = job_path.with_name(PID).read_text("ascii").split()
        except (FileNotFoundError, ValueError):
            return
        if started != "None" and _started(int(pid)) == int(started):
            _log.warning("leftover_trainer_killed", pid=int(pid))
            with suppress(ProcessLookupError):
                os.killpg(int(pid), signal.SIGKILL)


class _Pipes(SubprocessStreamProtocol):
    """Also says when the process has exited, whoever still holds its pipes, and when they closed.

    `Process.wait` is of no use for the first: it waits for the pipes too.
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
    """A running trainer. Satisfies `retrain.ports.TrainerProcess`."""

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
        """The process that was started; it leads its group."""
        return self._transport.get_pid()

    async def events(self) -> AsyncIterator[Event]:
        """See `TrainerProcess`."""
        output = self._pipes.stdout
        assert output is not None  # noqa: S101 - it was asked for
        async for line in output:
            try:
                event = parse_event(line)
            except ValidationError:
                continue
            yield event

    async def wait(self) -> int:
        """See `TrainerProcess`."""
        # Shielded: whoever is cancelled while waiting terminates the trainer, and waits again.
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
        self._signal(signal.SIGKILL)  # also whatever it started and left, and its keeper
        await self.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def _close_after_exit(self) -> None:
        """Kill what an exited trainer has left; who left its group cannot keep its pipes open."""
        await self._pipes.exited.wait()
        self._signal(signal.SIGKILL)
        try:
            async with asyncio.timeout(PIPES_SECONDS):
                await self._pipes.closed.wait()
        except TimeoutError:
            _log.warning("trainer_pipes_closed", pid=self.pid)
            self._transport.close()

    async def _keep_stderr(self) -> None:
        """Copy standard error into a file; a disk that takes none of it stops no trainer."""
        errors = self._pipes.stderr
        assert errors is not None  # noqa: S101 - it was asked for
        complete = True
        while chunk := await errors.read(1 << 14):
            try:
                _append(self._folder / STDERR, chunk)
            except OSError as error:
                if complete:
                    _log.warning("trainer_log_incomplete", pid=self.pid, error=error.strerror)
                complete = False


def _append(path: Path, chunk: bytes) -> None:
    """Add to a file, and start over when it is full."""
    if path.exists() and path.stat().st_size + len(chunk) > LOG_MAX:
        path.replace(path.with_suffix(".log.1"))
    with path.open("ab") as log:
        log.write(chunk)


def trainer_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the trainer gets of our environment: not our settings, which may hold secrets."""
    return {name: value for name, value in environment.items() if not name.startswith("PAWL_")}


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (Linux); None where it is not there.

    With the pid it names a process for good: pids are used again, start times are not.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])
