"""vLLM logs exceptions whose messages quote the request; this leaves the messages out (law 10)."""

import logging
import traceback


class MessagelessErrors(logging.Filter):
    """A filter for log handlers: of an exception, the frames and the types stay."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, its exception without a message."""
        if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
            # Formatters take `exc_text`, where it is set, for the formatted exception.
            record.exc_text = _without_messages(record.exc_info[1])
        return True


def _without_messages(error: BaseException) -> str:
    frames = "".join(traceback.format_tb(error.__traceback__)) + type(error).__qualname__
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is None:
        return frames
    return f"{_without_messages(cause)}\n\nThen:\n\n{frames}"


def strip_messages(logger: logging.Logger) -> None:
    """Put the filter on every handler of `logger`, once."""
    for handler in logger.handlers:
        if not any(isinstance(one, MessagelessErrors) for one in handler.filters):
            handler.addFilter(MessagelessErrors())
