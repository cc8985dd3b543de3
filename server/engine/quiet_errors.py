"""vLLM logs what quotes the request: exceptions' messages and a few lines of its own.

Nobody's text may get into a log, so this leaves the messages, and those lines' arguments, out.
"""

import logging
import traceback

_QUOTING = ("Chat template rejected the request", "Tool call %r")
"""How the lines of vLLM 0.32 begin whose arguments are the template's words (which may hold a
message) and the name of a function."""


class MessagelessErrors(logging.Filter):
    """A filter for log handlers: of an exception, the frames and the types stay.

    Of a line that quotes the request its beginning stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without anybody's words."""
        if str(record.msg).startswith(_QUOTING):
            record.msg, record.args = str(record.msg).partition("%")[0] + "(left out)", ()
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
