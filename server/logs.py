"""Structured logs on stderr: JSON, or lines on a terminal. They never contain users' texts."""

import logging
import sys

import structlog

from server.engine.quiet_errors import MessagelessErrors


def configure_logs(*, least: int = logging.INFO) -> None:
    """Configure structlog for this process, and libraries that log requests.

    Args:
        least: The lowest level that is logged.

    """
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
    logging.getLogger("uvicorn.error").addFilter(_is_new)
    # uvicorn and asyncio log uncaught errors, whose messages may quote a request.
    for quoting in ("uvicorn.error", "asyncio"):
        logging.getLogger(quoting).addFilter(MessagelessErrors())
    for noisy in ("httpx", "apscheduler", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _is_new(record: logging.LogRecord) -> bool:
    """Drop uvicorn's traceback of a failed startup: `server.process.serve` logs the reason."""
    text = record.getMessage()
    return not text.startswith(("Traceback", "Application startup failed"))
