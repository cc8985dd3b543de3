"""OpenAI's error object, as a JSON body and as the end of a stream."""

import json
from http import HTTPStatus

STREAM_END = "data: [DONE]\n\n"
"""The last event of every stream."""

ERROR_PREFIX = 'data: {"error"'
"""How an error event begins, vLLM's and ours."""


def _kind(status: int) -> str:
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return "service_unavailable_error"
    return "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"


def error_body(message: str, *, status: int, param: str | None = None) -> str:
    """The error object as OpenAI's clients read it."""
    error = {"message": message, "type": _kind(status), "param": param, "code": None}
    return json.dumps({"error": error}, separators=(",", ":"))


def error_event(message: str, *, status: int = 500, param: str | None = None) -> str:
    """A server-sent event that tells why a stream ended early; `STREAM_END` follows it."""
    return f"data: {error_body(message, status=status, param=param)}\n\n"
