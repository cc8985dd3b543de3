"""Exceptions are logged without their messages."""

import io
import logging

import pytest

from server.engine.quiet_errors import strip_messages

pytestmark = pytest.mark.pure

SECRET = "Xyzzy-secret-4711"
NOTHING: dict[str, int] = {}


@pytest.fixture
def logged() -> tuple[logging.Logger, io.StringIO]:
    logger, stream = logging.getLogger("test_quiet_errors"), io.StringIO()
    logger.handlers.clear()
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(stream))
    strip_messages(logger)
    strip_messages(logger)
    return logger, stream


def fail() -> None:
    try:
        NOTHING[SECRET]
    except KeyError as error:
        raise ValueError(f"about {SECRET}") from error


def test_types_and_frames_stay_and_messages_go(
    logged: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, stream = logged
    try:
        fail()
    except ValueError:
        logger.exception("It failed.")
    written = stream.getvalue()
    assert SECRET not in written
    assert "KeyError" in written
    assert "ValueError" in written
    assert "test_quiet_errors.py" in written


def test_a_record_without_an_exception_is_as_it_was(
    logged: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, stream = logged
    logger.warning("All is well.")
    assert stream.getvalue() == "All is well.\n"


@pytest.mark.parametrize(
    "line", ["Chat template rejected the request: %s", "Tool call %r has arguments that are not"]
)
def test_lines_that_quote_the_request_are_cut(
    logged: tuple[logging.Logger, io.StringIO], line: str
) -> None:
    logger, stream = logged
    logger.warning(line, SECRET)
    assert SECRET not in stream.getvalue()
    assert stream.getvalue().startswith(line.partition("%")[0])
