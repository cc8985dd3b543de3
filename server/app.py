"""The FastAPI app: routes, error handlers, and the lifespan of its services."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from common.clock import AdjustableClock, Clock, system_clock
from server.api import (
    adapters,
    chat,
    comparisons,
    feedback,
    health,
    interactions,
    keys,
    retention,
    rollouts,
    runs,
    servers,
)
from server.api import clock as clock_api
from server.api.body import BodyLimit
from server.api.cors import FeedbackCors
from server.api.head import HeadRequests
from server.api.routes import TAGS
from server.assembly.assemble import StartEngine, assemble
from server.assembly.engine import start_engine as start_configured_engine
from server.engine.error_body import error_body
from server.error_status import STATUS, field_of, retry_after, status_of
from server.errors import SetupError
from server.serving.answering import CLIENT_CLOSED_REQUEST
from server.settings import Settings

log = structlog.get_logger()


def create_app(
    settings: Settings,
    *,
    start_engine: StartEngine = start_configured_engine,
    clock: Clock | None = None,
    offline: bool = False,
) -> FastAPI:
    """Create the app. Its services start with its lifespan.

    Args:
        settings: The settings.
        start_engine: Starts the engine; replaced in tests.
        clock: Returns the current time; the default is the system's clock.
        offline: Whether the command line uses the app in process: with routes and database, but
            without engine and scheduler.

    Raises:
        SetupError: If the settings are unsafe.

    """
    app = FastAPI(
        title="Pawl",
        description="Language models that learn from the people who use them.",
        openapi_tags=TAGS,
        lifespan=lifespan,
        openapi_url=None,  # served to those with a key: see server/api/health.py
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the redirect's address would come from the client's Host header
    )
    app.state.settings = settings
    app.state.start_engine = start_engine
    app.state.clock = clock or _clock(settings)
    app.state.offline = offline
    app.add_middleware(BodyLimit, limit=settings.server.limits.body_bytes)
    if settings.server.cors_origins:
        app.add_middleware(FeedbackCors, origins=settings.server.cors_origins)
    app.add_middleware(HeadRequests)
    _add_routes(app, settings)
    _add_error_handlers(app)
    return app


def _clock(settings: Settings) -> Clock:
    if not settings.server.adjustable_clock:
        return system_clock
    if not settings.server.loopback:
        raise SetupError("server.adjustable_clock is for loopback only: set server.host=127.0.0.1")
    return AdjustableClock()


def _add_routes(app: FastAPI, settings: Settings) -> None:
    answering = (chat, comparisons, feedback, interactions)
    managing = (adapters, runs, rollouts, keys, servers, retention, health)
    for module in (*answering, *managing):
        app.include_router(module.router)
    if settings.server.adjustable_clock:
        app.include_router(clock_api.router)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Start the services in order; shut them down in reverse order, also after an error."""
    async with AsyncExitStack() as stack:
        try:
            app.state.services = await assemble(app, stack)
        except Exception as error:
            app.state.failed = error
            raise
        yield


def _add_error_handlers(app: FastAPI) -> None:
    for kind in STATUS:
        app.add_exception_handler(kind, _domain_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _client_left)
    app.add_exception_handler(Exception, _unexpected)


async def _domain_error(_request: Request, error: Exception) -> Response:
    status = status_of(error) or 500
    if isinstance(error, SQLAlchemyError):
        log.error("database_unavailable", kind=type(error).__name__)
        return _response("the database does not answer: try again", status)
    return _response(str(error), status, field_of(error))


async def _invalid(_request: Request, error: Exception) -> Response:
    """Name the parameter and the rule, but never the value."""
    assert isinstance(error, RequestValidationError)  # noqa: S101  (registered so)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    return _response(f"{field}: {first['msg']}", 422, field)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (registered so)
    response = _response(str(error.detail), error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _client_left(_request: Request, _error: Exception) -> Response:
    """Return a response that nobody reads: the client disconnected before its body was complete."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)


async def _unexpected(_request: Request, error: Exception) -> Response:
    """Log the error's class and place, never its message, which may quote a user's text."""
    log.error("unexpected_error", kind=type(error).__name__, place=_place(error))
    return _response("the server failed; its log says where", 500)


def _response(message: str, status: int, field: str | None = None) -> Response:
    return Response(
        error_body(message, status=status, param=field),
        status,
        headers=retry_after(status),
        media_type="application/json",
    )


def _place(error: Exception) -> str:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return ""
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
