"""Starts servers for a benchmark, waits until they are ready, and stops them."""

import http
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from bench.support.preloaded import Forked, Preloaded
from bench.support.processes import die_with_parent
from server.startup.data_lock import RunningServer

READY_SECONDS = 400.0
STOP_SECONDS = 40.0
POLL_SECONDS = 0.05
SUPERVISED = ("server.cli", "serve")
FAST = ("tests.integration.processes.fast_server",)
"""`SUPERVISED`, with the real engine forked: it loads in half the time, on a CPU only."""
LOG_TAIL = 2000

Found = TypeVar("Found")


class ServerFailedError(Exception):
    """A server ended or did not become ready."""

    def __init__(self, end_of_log: str) -> None:
        super().__init__(f"the server ended, or was not ready in time; its log ends:\n{end_of_log}")


class Started(NamedTuple):
    """A process and its folder for temporary files: vLLM leaves sockets and ports there."""

    process: subprocess.Popen[bytes] | Forked
    scratch: tempfile.TemporaryDirectory[str]


@dataclass(slots=True)
class ServerProcess:
    """A server that answers. `pid` is the process that speaks HTTP; `model` is what to ask for."""

    name: str
    url: str
    pid: int
    model: str
    started: Started
    token: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What authorises a request, an administrator's included."""
        return {} if self.token is None else {"authorization": f"Bearer {self.token}"}

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        if self.started.process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.started.process.wait()
        self.started.scratch.cleanup()

    def stop(self) -> None:
        """Stop the server; kill it if it has not ended after `STOP_SECONDS`."""
        if self.started.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.started.process.wait(STOP_SECONDS)
        self.kill()


def start_pawl(
    data_dir: Path,
    *,
    model: Path | None = None,
    settings: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
    preloaded: Preloaded | None = None,
    log: Path | None = None,
    serve: Sequence[str] = ("server.process.serve",),
) -> ServerProcess:
    """Start Pawl's serving process on `data_dir` and wait until it is ready.

    Args:
        data_dir: The server's data folder.
        model: The model's folder; without one the fake engine answers.
        settings: `PAWL_…` variables.
        prefix: A command that runs the server, such as `strace -f`.
        log: The file of its log; without one it is `server.log` beside `data_dir`.
        preloaded: The process to fork from, which starts faster.
        serve: The module that serves, and its first arguments; `SUPERVISED` for `pawl serve`,
            whose parent starts the server again when it dies.

    """
    engine = ["--engine", "fake"] if model is None else ["--model", str(model)]
    arguments = [*engine, "--data-dir", str(data_dir), "--port", "0"]
    log, note = log or data_dir.parent / "server.log", data_dir / "server.json"
    note.unlink(missing_ok=True)  # of a server that was killed
    if preloaded is None:
        command = [*prefix, sys.executable, "-m", *serve, *arguments]
        started = _start(command, log, settings or {})
    else:
        started = _fork(preloaded, arguments, log, settings or {})
    running = _wait(started, log, lambda: _pawl(note))
    return ServerProcess("pawl", running.url, running.pid, "pawl", started, running.token)


def start_vllm(
    folder: Path, *, model: Path, name: str = "vllm", arguments: Sequence[str] = ()
) -> ServerProcess:
    """Start vLLM's own server on `model` and wait until it is ready; its log is in `folder`."""
    port = _free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.launchers.api_server.entry"]
    command += [*arguments, "--model", str(model), "--served-model-name", "model"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    log = folder / f"{name}.log"
    started = _start(command, log, {"TORCHDYNAMO_DISABLE": "1"})  # as Pawl does on a CPU
    url = f"http://127.0.0.1:{port}"
    _wait(started, log, lambda: _answers(f"{url}/health") or None)
    return ServerProcess(name, url, started.process.pid, "model", started)


@contextmanager
def stopping(server: ServerProcess) -> Iterator[ServerProcess]:
    """Stop the server when the block ends, also after an error."""
    try:
        yield server
    finally:
        server.stop()


def _start(command: Sequence[str], log: Path, settings: Mapping[str, str]) -> Started:
    """Start `command`, which dies with this process."""
    scratch = _scratch()
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            env=_environment(scratch.name, settings),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            preexec_fn=die_with_parent,  # noqa: PLW1509  (it only asks the kernel)
        )
    return Started(process, scratch)


def _fork(
    preloaded: Preloaded, arguments: Sequence[str], log: Path, settings: Mapping[str, str]
) -> Started:
    scratch = _scratch()
    environment = _environment(scratch.name, settings)
    return Started(preloaded.start(arguments, log, environment), scratch)


def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="pawl-", ignore_cleanup_errors=True)


def _environment(scratch: str, settings: Mapping[str, str]) -> dict[str, str]:
    quiet = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING", "HF_HUB_OFFLINE": "1"}
    return {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": scratch, **quiet, **settings}


def _wait(started: Started, log: Path, ask: Callable[[], Found | None]) -> Found:
    """Call `ask` until it returns a result; else end the process, raise `ServerFailedError`."""
    found = None
    try:
        found = _first_answer(started.process, ask)
    finally:
        if found is None:
            started.process.kill()
            started.process.wait()
            started.scratch.cleanup()
    if found is None:
        raise ServerFailedError(log.read_text(errors="replace")[-LOG_TAIL:])
    return found


def _first_answer(
    process: subprocess.Popen[bytes] | Forked, ask: Callable[[], Found | None]
) -> Found | None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = ask()
        if found is not None:
            return found
        time.sleep(POLL_SECONDS)
    return None


def _pawl(note: Path) -> RunningServer | None:
    """Return where Pawl listens, once it is ready.

    Reads the file itself, because `server.startup.data_lock.running_server` tries the lock, and a
    server that starts at that moment would find it taken.
    """
    if not note.exists():
        return None
    running = RunningServer(**json.loads(note.read_text()))
    return running if _caught_up(f"{running.url}/health/ready") else None


def _caught_up(url: str) -> bool:
    """Return whether the server is ready and has moved all spooled rows to the database."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  (our own address)
            return bool(json.load(response)["database"] == "ok")
    except OSError:
        return False


def age_seconds(pid: int) -> float:
    """Return the age of a process in seconds, to a hundredth."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  (our own address)
            return bool(response.status == http.HTTPStatus.OK)
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
