"""The demo's server: writes its settings, starts its process and finds its address."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from server.errors import ServerError
from server.startup.data_lock import running_server

READY_SECONDS = 400.0
STOP_SECONDS = 40.0


class DemoServerError(ServerError):
    """The demo's server did not start, ended, or refused a request."""


class LocalServer:
    """`pawl serve` with `settings` (TOML) on the folder `out`, in a separate process."""

    def __init__(self, out: Path, settings: str) -> None:
        self._out = out
        self._data = out / "data"
        self._process: subprocess.Popen[bytes] | None = None
        (out / "pawl.toml").write_text(settings)

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self._out / "server.log"

    @property
    def pid(self) -> int | None:
        """The id of the supervising process."""
        return self._process.pid if self._process else None

    async def start(self) -> tuple[str, str]:
        """Start the server, wait until it is ready and return its URL and an operator's token."""
        self._process = self._spawn()
        try:
            async with asyncio.timeout(READY_SECONDS):
                return await self._ready()
        except TimeoutError:
            self.stop()
            raise DemoServerError(f"the server is not ready; see {self.log}") from None

    def _spawn(self) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "server.cli", "serve"],
                cwd=self._out,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _ready(self) -> tuple[str, str]:
        while True:
            await asyncio.sleep(0.2)
            assert self._process is not None  # noqa: S101  (just started)
            if self._process.poll() is not None:
                raise DemoServerError(f"the server ended; see {self.log}")
            running = running_server(self._data) if self._data.exists() else None
            if running is not None and await _answers(running.url):
                return running.url, running.token

    def stop(self) -> None:
        """Stop the server; kill it if it has not ended after `STOP_SECONDS`."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


async def _answers(url: str) -> bool:
    async with httpx.AsyncClient(base_url=url) as client:
        try:
            return (await client.get("/health/ready")).is_success
        except httpx.HTTPError:
            return False


def read_json(response: httpx.Response) -> Any:
    """Return the body of a successful response. Raises `DemoServerError` for any other."""
    if not response.is_success:
        raise DemoServerError(f"the server answered {response.status_code}: {response.text[:200]}")
    return response.json()
