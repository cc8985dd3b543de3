"""The serving process: uvicorn, signals, and the end when the engine dies.

`python -m server.process` is what the supervising parent starts.
"""

import asyncio
import os
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import structlog
import typer
import uvicorn
import uvloop
from fastapi import FastAPI
from prometheus_client import disable_created_metrics

from server.app import create_app
from server.checked_settings import checked
from server.dependencies import Services
from server.engine.errors import EngineStartError
from server.engine.parent_death import die_with
from server.errors import SetupError
from server.logs import configure_logs
from server.settings import Settings
from server.supervisor import EXIT_ENGINE_DEAD, EXIT_SETUP

LAST_EVENTS_SECONDS = 2.0
"""After the drain's deadline, or the engine's death, error events get so long to leave."""

log = structlog.get_logger()


class PawlServer(uvicorn.Server):
    """uvicorn, which on a signal first lets the app drain."""

    _loop: asyncio.AbstractEventLoop
    watch: asyncio.Task[None] | None = None
    drained: asyncio.Task[None] | None = None
    engine_died = False

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app and listen; from then on its engine is watched."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            self.watch = asyncio.create_task(self._end_with_engine(), name="engine watch")
            self.drained = asyncio.create_task(self._end_after_drain(), name="drain watch")

    async def _end_with_engine(self) -> None:
        """End the server when the engine dies. Streams get their error events first."""
        services: Services = self._app.state.services
        await services.engine.wait_dead()
        log.error("engine_died")
        services.drain.begin()
        services.drain.begin()
        self.engine_died = self.should_exit = True

    async def _end_after_drain(self) -> None:
        """Listen until the last request is answered: what comes meanwhile is told 503."""
        services: Services = self._app.state.services
        await services.drain.over()
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the drain; a second signal ends it at once.

        uvicorn's own handler would raise the signal again after the shutdown, and the exit status
        would not be 0.
        """
        del sig, frame
        services: Services | None = getattr(self._app.state, "services", None)
        if services is None:
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(services.drain.begin)


def run(settings: Settings) -> int:
    """Serve until told to stop; returns the exit status."""
    configure_logs()
    disable_created_metrics()  # type: ignore[no-untyped-call]  # upstream has no annotation
    try:
        return uvloop.run(_serve(settings))
    except (SetupError, EngineStartError) as error:
        log.error("cannot_start", reason=str(error))  # noqa: TRY400  (the reason says it all)
        return EXIT_SETUP


async def _serve(settings: Settings) -> int:
    app = create_app(settings)
    listener = _listen(settings)
    app.state.url = _url(settings, listener)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=int(settings.server.drain_seconds + LAST_EVENTS_SECONDS) + 1,
        timeout_keep_alive=75,
        h11_max_incomplete_event_size=64 * 1024,
        server_header=False,
    )
    server = PawlServer(config, app)
    failed = await _until_told(server, listener, app)
    for task in (server.watch, server.drained):
        if task is not None:
            task.cancel()
    if failed is not None:
        raise failed
    return EXIT_ENGINE_DEAD if server.engine_died else 0


async def _until_told(
    server: PawlServer, listener: socket.socket, app: FastAPI
) -> Exception | None:
    """Serve; returns why the app did not start, which uvicorn turns into an exit of its own."""
    try:
        await server.serve(sockets=[listener])
    except SystemExit:
        if getattr(app.state, "failed", None) is None:
            raise
    failed: Exception | None = getattr(app.state, "failed", None)
    return failed


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.server.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.server.host, settings.server.port))
    except OSError as error:
        listener.close()
        raise SetupError(
            f"cannot listen on {settings.server.host}:{settings.server.port} "
            f"({error.strerror}): choose another with --port"
        ) from None
    listener.set_inheritable(False)
    return listener


def _url(settings: Settings, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    del settings
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def settings_from(
    *,
    model: str | None = None,
    host: str | None = None,
    port: int | None = None,
    data_dir: Path | None = None,
    engine: str | None = None,
) -> Settings:
    """The settings with the command line's options over them."""
    settings = Settings()
    update: dict[str, Any] = settings.model_dump()
    for section, field, value in (
        ("engine", "model", model),
        ("engine", "kind", engine),
        ("server", "host", host),
        ("server", "port", port),
    ):
        if value is not None:
            update[section][field] = value
    if data_dir is not None:
        update["data_dir"] = data_dir
    return Settings(**update)


def main(
    model: Annotated[str | None, typer.Option()] = None,
    host: Annotated[str | None, typer.Option()] = None,
    port: Annotated[int | None, typer.Option()] = None,
    data_dir: Annotated[Path | None, typer.Option()] = None,
    engine: Annotated[str | None, typer.Option()] = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve, without supervision; with `parent`, end when that process ends."""
    if parent is not None:
        die_with(parent)
    settings = checked(
        lambda: settings_from(model=model, host=host, port=port, data_dir=data_dir, engine=engine)
    )
    sys.exit(run(settings))


if __name__ == "__main__":
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    typer.run(main)
