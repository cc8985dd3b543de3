"""`pawl serve` in separate processes, for tests that signal and kill them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from server.startup.data_lock import RunningServer
from tests.integration.test_engine_process import parent_of

PATIENCE_SECONDS = 180.0
SERVE = (sys.executable, "-m", "server.cli", "serve")
UNSUPERVISED = (sys.executable, "-m", "server.process.serve")
QUESTION = {"role": "user", "content": "When do the tomatoes ripen?"}


def chat_body(**fields: Any) -> dict[str, Any]:
    return {"model": "pawl", "messages": [QUESTION], **fields}


@dataclass(slots=True)
class ServingProcess:
    """A command that serves `data_dir`, and the last server that it has started."""

    data_dir: Path
    temporary: Path
    process: "subprocess.Popen[bytes]"
    server: RunningServer = field(default_factory=lambda: RunningServer("", "", 0))

    def wait_ready(self) -> RunningServer:
        """Wait for a server other than the previous one and return it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log
            found = self._note()
            if found is not None and found.pid != self.server.pid and _ready(found.url):
                self.server = found
                return found
            time.sleep(0.05)
        raise AssertionError(f"no server became ready: {self.log}")

    def _note(self) -> RunningServer | None:
        try:
            return RunningServer(**json.loads((self.data_dir / "server.json").read_text()))
        except OSError:
            return None

    @property
    def log(self) -> str:
        """The log of its processes."""
        return (self.data_dir.parent / "serve.log").read_text()

    def client(self, **arguments: Any) -> httpx.Client:
        """A client with the operator's token."""
        headers = {"authorization": f"Bearer {self.server.token}"}
        return httpx.Client(
            base_url=self.server.url, headers=headers, **{"timeout": 30, **arguments}
        )

    def family(self) -> list[int]:
        """Return the command's process and its descendants."""
        children: dict[int, list[int]] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            if (parent := parent_of(folder)) is not None:
                children.setdefault(parent, []).append(int(folder.name))
        found = [self.process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


@contextmanager
def serving(
    data_dir: Path,
    command: Sequence[str] = SERVE,
    *,
    model: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[ServingProcess]:
    """Start `command` on `data_dir`; kill its remaining processes at the end."""
    engine = ["--engine", "fake"] if model is None else ["--model", str(model)]
    quiet = {"OMP_NUM_THREADS": "1", "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"}
    own = {"PAWL_RETRAIN__ENABLED": "false", "PAWL_SERVER__RESTART_SECONDS": "0"}
    temporary = Path(
        tempfile.mkdtemp(prefix="pawl-")
    )  # short, because paths of sockets are limited
    own["TMPDIR"] = str(temporary)
    with (data_dir.parent / "serve.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, *engine, "--data-dir", str(data_dir), "--port", "0"],
            env={**os.environ, **quiet, **own, **(settings or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    started = ServingProcess(data_dir, temporary, process)
    family: list[int] = []
    try:
        started.wait_ready()
        yield started
        family = started.family()
    finally:
        _kill([process.pid, *family])
        process.wait()
        shutil.rmtree(temporary, ignore_errors=True)


def _kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
