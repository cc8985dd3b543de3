"""OpenAI's error object, as a JSON body and as an event that ends a stream."""

import json
from http import HTTPStatus

STREAM_END = "data: [DONE]\n\n"
"""The last event of every stream."""

ERROR_PREFIX = 'data: {"error"'
"""The beginning of an error event, both vLLM's and Pawl's."""


def _kind(status: int) -> str:
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return "service_unavailable_error"
    return "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"


def error_body(message: str, *, status: int, param: str | None = None) -> str:
    """Return the error object that OpenAI's clients read, as JSON."""
    error = {"message": message, "type": _kind(status), "param": param, "code": None}
    return json.dumps({"error": error}, separators=(",", ":"))


def error_event(message: str, *, status: int = 500, param: str | None = None) -> str:
    """Return the event that says why a stream ends early; `STREAM_END` must follow it."""
    return f"data: {error_body(message, status=status, param=param)}\n\n"
