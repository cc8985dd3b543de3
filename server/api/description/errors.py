"""The OpenAPI description of errors: OpenAI's error object, and the meaning of each status."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

Responses = dict[int | str, dict[str, Any]]


class ErrorDetail(BaseModel):
    """The problem. It never quotes the request."""

    message: str = Field(description="What is wrong and what to do.")
    type: str = Field(
        description="invalid_request_error, service_unavailable_error or server_error."
    )
    param: str | None = Field(
        description="The field that is meant, such as messages[1].content; null: none is."
    )
    code: str | int | None = Field(description="The engine's code; null elsewhere.")


class ErrorOut(BaseModel):
    """OpenAI's error object: the body of every response with a status of 400 or above."""

    error: ErrorDetail


MEANING: Mapping[int, str] = {
    400: "No JSON object, or a field that is refused or out of bounds; `param` names it.",
    401: "No valid key, or a feedback token that is forged or expired.",
    403: "A key without the role, a feedback token for something else, or, while the server has "
    "no keys, a foreign Host header or a proxy.",
    404: "Not there, or not yours.",
    409: "A state that does not allow it, or an id that stands for another content.",
    413: "The body is over the limit.",
    422: "A field breaks a rule; `param` names it.",
    500: "The server failed.",
    503: "Not now: the engine or the database is away or busy, or the server is shutting down. "
    "Send it again.",
}
"""The meaning of each status; docs/api.md has the same table."""

OTHER_ERRORS = "Any other error, such as 405, 408, 414, 431 or 500: the same object."

_RETRY_AFTER = {
    "retry-after": {
        "description": "Send the request again after so many seconds.",
        "schema": {"type": "integer"},
    }
}
_BODY = {"application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorOut.__name__}"}}}


def errors(*statuses: int) -> Responses:
    """Return `responses` for a route that may return these statuses.

    `server.api.routes` adds the statuses of keys and bodies.
    """
    return {status: _described(status) for status in sorted(statuses)}


def _described(status: int) -> dict[str, Any]:
    headers = {"headers": _RETRY_AFTER} if status == 503 else {}  # noqa: PLR2004  (HTTP's)
    return {"description": MEANING[status], "content": _BODY, **headers}
