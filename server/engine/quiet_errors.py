"""Removes request text from vLLM's log records.

vLLM logs exceptions whose messages quote the request, and a few lines that do so themselves. The
filter drops those messages and the arguments of those lines. It may go once vLLM has a switch that
keeps requests out of its error logs.
"""

import logging
import traceback

_QUOTING = ("Chat template rejected the request", "Tool call %r")
"""Beginnings of the lines of vLLM 0.32 that quote the request (`vllm.renderers.hf` and
`vllm.renderers.chat_utils`): the template's error, which may quote a message, and the name of a
function."""


class MessagelessErrors(logging.Filter):
    """A filter for log handlers.

    It keeps the frames and types of an exception, and the beginning of a line that quotes the
    request.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Accept every record, after removing the text of requests."""
        if str(record.msg).startswith(_QUOTING):
            record.msg, record.args = str(record.msg).partition("%")[0] + "(left out)", ()
        if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
            # If `exc_text` is set, formatters use it as the formatted exception.
            record.exc_text = _without_messages(record.exc_info[1])
        return True


def _without_messages(error: BaseException) -> str:
    frames = "".join(traceback.format_tb(error.__traceback__)) + type(error).__qualname__
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is None:
        return frames
    return f"{_without_messages(cause)}\n\nThen:\n\n{frames}"


def strip_messages(logger: logging.Logger) -> None:
    """Add the filter to every handler of `logger` that does not have it."""
    for handler in logger.handlers:
        if not any(isinstance(one, MessagelessErrors) for one in handler.filters):
            handler.addFilter(MessagelessErrors())
