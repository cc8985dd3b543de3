"""The serving process: uvicorn, signal handling, and shutdown when the engine dies.

The supervisor starts it as `python -m server.process.serve`.
"""

import asyncio
import errno
import math
import os
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import structlog
import typer
import uvicorn
import uvloop
from fastapi import FastAPI
from prometheus_client import disable_created_metrics

from common.parent_death import die_with
from server.app import create_app
from server.config import HttpConfig
from server.connections.admission import OpenConnections, sweep_for_ever
from server.connections.open_files import allow_open_files
from server.connections.protocol import bounded_protocol
from server.engine.errors import EngineStartError
from server.engine.watch.watch import EngineWatch, watchdog_for
from server.errors import NotFreeError, SetupError
from server.exits import EXIT_BUSY, EXIT_ENGINE_DEAD, EXIT_SETUP, checked
from server.logs import configure_logs
from server.process.parent_link import beat
from server.process.supervision import Supervision
from server.services import Services
from server.serving.drain import LAST_EVENTS_SECONDS
from server.settings import Settings
from server.startup.permissions import keep_private

log = structlog.get_logger()


class PawlServer(uvicorn.Server):
    """A uvicorn server that drains the app before it shuts down."""

    _loop: asyncio.AbstractEventLoop
    engine_died = False

    def __init__(
        self,
        config: uvicorn.Config,
        app: FastAPI,
        supervision: Supervision | None,
        connections: OpenConnections,
    ) -> None:
        super().__init__(config)
        self._app = app
        self._connections = connections
        self._supervision = supervision
        self._watches: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app, listen, and start the background watches."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if not self.started:
            return
        services: Services = self._app.state.services
        watch = _engine_watch(services)
        watches = [
            self._end_with_engine(services, watch),
            self._end_after_drain(services),
            sweep_for_ever(self._connections, self._loop.time),
        ]
        services.metrics.process.watched(watch)
        self._connections.report_to(services.metrics.connections)
        if self._supervision is not None:
            services.metrics.process.restarted(self._supervision.restarts)
            watches.append(beat(self._supervision.heartbeat))
        self._watches = [asyncio.create_task(one) for one in watches]

    def close(self) -> None:
        """Cancel the background watches."""
        for watch in self._watches:
            watch.cancel()

    async def _end_with_engine(self, services: Services, watch: EngineWatch) -> None:
        """Shut down when the engine dies, after streams have got their error events."""
        await watch.wait_dead()
        log.error("engine_died")
        self.engine_died = True
        services.drain.begin()
        services.drain.begin()

    async def _end_after_drain(self, services: Services) -> None:
        """Stop listening after the last request; new requests get a 503 until then."""
        await services.drain.finished()
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the drain; a second signal skips it, and also aborts a startup in progress.

        Replaces uvicorn's handler (`uvicorn.Server.handle_exit`), which raises the signal again
        after shutdown, so that the exit status would not be 0.
        """
        del sig, frame
        services: Services | None = getattr(self._app.state, "services", None)
        if services is None:
            if self.should_exit:
                os._exit(0)  # no request was accepted yet, and a model may take minutes to load
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(services.drain.begin)


def _engine_watch(services: Services) -> EngineWatch:
    engine = services.engine
    watchdog = watchdog_for(services.settings.engine, engine.info.device)
    return EngineWatch(engine, watchdog, monotonic=time.monotonic)


def run(settings: Settings, supervision: Supervision | None = None) -> int:
    """Serve until a signal or the engine's death; return the exit status.

    After a restart, `NotFreeError` (the previous server still holds its port or data folder, or the
    database is unavailable) gives `EXIT_BUSY`, so that the supervisor tries again. At a first start
    it gives `EXIT_SETUP` like any other wrong setting.
    """
    configure_logs()
    disable_created_metrics()  # type: ignore[no-untyped-call]  # upstream has no annotation
    try:
        return uvloop.run(_serve(settings, supervision))
    except NotFreeError as error:
        log.error("cannot_start", reason=str(error))  # noqa: TRY400  (the reason is complete)
        again = supervision is not None and supervision.restarts > 0
        return EXIT_BUSY if again else EXIT_SETUP
    except (SetupError, EngineStartError) as error:
        log.error("cannot_start", reason=" ".join(str(error).split()))  # noqa: TRY400  (as above)
        return EXIT_SETUP


async def _serve(settings: Settings, supervision: Supervision | None) -> int:
    app = create_app(settings)
    allow_open_files(settings.server.http.connections)
    listener = _listen(settings)
    app.state.url = _url(settings, listener)
    connections = OpenConnections(settings.server.http)
    config = uvicorn_config(app, settings.server.http, connections)
    server = PawlServer(config, app, supervision, connections)
    failed = await _serve_until_exit(server, listener, app)
    server.close()
    if failed is not None:
        raise failed
    return EXIT_ENGINE_DEAD if server.engine_died else 0


def uvicorn_config(app: FastAPI, http: HttpConfig, connections: OpenConnections) -> uvicorn.Config:
    """Return uvicorn's configuration: with connection limits, and without proxy headers."""
    return uvicorn.Config(
        app,
        http=bounded_protocol(connections),
        ws="none",  # no route uses WebSockets, and uvicorn's protocol for them has no limits
        proxy_headers=False,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=LAST_EVENTS_SECONDS,  # counts from the end of the drain
        timeout_keep_alive=math.ceil(http.keep_alive_seconds),
        server_header=False,
    )


async def _serve_until_exit(
    server: PawlServer, listener: socket.socket, app: FastAPI
) -> Exception | None:
    """Serve; return the error of a failed startup, which uvicorn replaces by `SystemExit`."""
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
    where = f"cannot listen on {settings.server.host}:{settings.server.port}"
    try:
        listener.bind((settings.server.host, settings.server.port))
    except (OSError, UnicodeError) as error:
        listener.close()
        code = getattr(error, "errno", None)
        why = getattr(error, "strerror", None) or "no such name"
        if code == errno.EADDRINUSE:
            text = f"server.port: {where} ({why}): choose another with --port"
            raise NotFreeError(text) from None
        setting, option = ("port", "--port") if code == errno.EACCES else ("host", "--host")
        text = f"server.{setting}: {where} ({why}): choose another with {option}"
        raise SetupError(text) from None
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
    """Read the settings; command line options override them."""
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
    supervision: Annotated[
        Supervision | None, typer.Option(hidden=True, parser=Supervision.parse)
    ] = None,
) -> None:
    """Serve; with `--supervision`, exit when the parent exits."""
    keep_private()
    if supervision is not None:
        die_with(supervision.parent)
        os.set_inheritable(supervision.heartbeat, False)  # noqa: FBT003  (its own signature)
    settings = checked(
        lambda: settings_from(model=model, host=host, port=port, data_dir=data_dir, engine=engine)
    )
    sys.exit(run(settings, supervision))


if __name__ == "__main__":
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    typer.run(main)
