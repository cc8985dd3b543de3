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
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path

import structlog
from pydantic import ValidationError

from retrain.config import TrainerConfig
from retrain.errors import TrainingError
from retrain.files import write_whole
from retrain.trainer.events import Event, parse_event

STDERR, PID = "trainer.log", "trainer.pid"
LINE_MAX = 1 << 20
LOG_MAX = 1 << 18
"""Bytes of standard error in one file; the part before it is kept too."""

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
        try:
            process = await asyncio.create_subprocess_exec(
                *self._config.command,
                str(job_path),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=PIPE,
                stderr=PIPE,
                env=trainer_environment(os.environ),
                limit=LINE_MAX,
                start_new_session=True,
            )
        except OSError as error:
            command = self._config.command[0]
            raise TrainingError(f"{command} cannot be started: {error.strerror}") from error
        trainer = SubprocessTrainer(process, job_path.parent, self._config.terminate_seconds)
        birth = f"{process.pid} {_started(process.pid)}"
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


class SubprocessTrainer:
    """A running trainer. Satisfies `retrain.ports.TrainerProcess`."""

    def __init__(self, process: Process, folder: Path, terminate_seconds: float) -> None:
        self._process = process
        self._folder = folder
        self._terminate_seconds = terminate_seconds
        self._stderr = asyncio.create_task(self._keep_stderr())

    @property
    def pid(self) -> int:
        """The process that was started; it leads its group."""
        return self._process.pid

    async def events(self) -> AsyncIterator[Event]:
        """See `TrainerProcess`."""
        output = self._process.stdout
        assert output is not None  # noqa: S101 - it was asked for
        async for line in output:
            try:
                event = parse_event(line)
            except ValidationError:
                continue
            yield event

    async def wait(self) -> int:
        """See `TrainerProcess`."""
        code = await self._process.wait()
        await self._stderr
        return code

    async def terminate(self) -> None:
        """See `TrainerProcess`."""
        if self._process.returncode is None:
            self._signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(self._terminate_seconds):
                    await self._process.wait()
            except TimeoutError:
                _log.warning("trainer_killed", pid=self.pid)
        self._signal(signal.SIGKILL)  # also whatever it started and left, and its keeper
        await self.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def _keep_stderr(self) -> None:
        """Copy standard error into a file, and start over when it is full."""
        errors = self._process.stderr
        assert errors is not None  # noqa: S101 - it was asked for
        path = self._folder / STDERR
        while chunk := await errors.read(1 << 14):
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
