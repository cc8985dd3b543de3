"""Structured logs on stderr: JSON, or lines on a terminal. Never anybody's text (law 10)."""

import logging
import sys

import structlog

from server.engine.quiet_errors import MessagelessErrors


def configure_logs(*, least: int = logging.INFO) -> None:
    """Set up structlog for this process, and quieten libraries that log requests."""
    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.getLogger("uvicorn.error").addFilter(_told_already)
    # uvicorn and asyncio log what nobody caught, and its message may quote a request.
    for quoting in ("uvicorn.error", "asyncio"):
        logging.getLogger(quoting).addFilter(MessagelessErrors())
    for noisy in ("httpx", "apscheduler", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _told_already(record: logging.LogRecord) -> bool:
    """Drop uvicorn's traceback of an app that did not start: `server.process` says why."""
    text = record.getMessage()
    return not text.startswith(("Traceback", "Application startup failed"))
