"""Reads request bodies as strict JSON, within limits, and with errors that never quote the body.

Size, depth, number of values and number of reported errors are limited, so that 1 MB of mistakes
neither blocks the event loop nor gets a long list of errors in return.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feedback.errors import InvalidInputError
from feedback.schemas import problems
from server.config import LimitsConfig
from server.engine.requests.json_values import lone_surrogate
from server.errors import BodyError, BodyTooLargeError

Model = TypeVar("Model", bound=BaseModel)


class BodyLimit:
    """ASGI middleware that limits request bodies to `limit` bytes."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make reading a larger body raise `BodyTooLargeError`, if possible before it is read."""
        if scope["type"] == "http":
            receive = _counted(receive, self._limit, _announced(scope))
        await self._app(scope, receive, send)


def _announced(scope: Scope) -> int:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return max((int(value) for value in lengths if value.isdigit()), default=0)


def _counted(receive: Receive, limit: int, announced: int) -> Callable[[], Awaitable[Message]]:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        if announced > limit and seen == 0:
            raise BodyTooLargeError(limit)
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise BodyTooLargeError(limit)
        return message

    return counted


async def read_object(request: Request) -> dict[str, Any]:
    """Read the body as a JSON object; raises `BodyError`.

    NaN, lone surrogates and very deep nesting are refused (by orjson). Requires
    `Content-Type: application/json`: a page of another origin cannot send that without a CORS
    preflight, which prevents CSRF.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BodyError("send the header 'Content-Type: application/json'")
    limits: LimitsConfig = request.app.state.settings.server.limits
    return json_object(await request.body(), values_max=limits.body_values)


def json_object(body: bytes, *, values_max: int) -> dict[str, Any]:
    """Parse `body` as a JSON object of at most `values_max` values; raises `BodyError`."""
    if values_in(body, values_max) > values_max:
        raise BodyError(f"the body holds more than {values_max} values: send less at once")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _why_refused(body, error.msg) from None
    if not isinstance(value, dict):
        raise BodyError("the body must be a JSON object")
    _check_depth(value)
    return value


_TOO_DEEP = "the body is nested too deeply: flatten it"
_WRONG = {
    "depth limit": _TOO_DEEP,
    "not valid UTF-8": "the body is not UTF-8: encode it so",
    "byte order mark": "the body begins with a byte order mark: leave it out",
    "infinity": "a number is too large: numbers are at most 1.8e308",
    "empty document": "the body is empty: send a JSON object",
}
"""Messages to the client by fragments of orjson 3.13's messages, which may quote the body."""


def _why_refused(body: bytes, message: str) -> BodyError:
    """Return the error for a body that orjson refuses with `message`."""
    wrong = next((ours for theirs, ours in _WRONG.items() if theirs in message), None)
    if wrong is not None:
        return BodyError(wrong)
    fault = lone_surrogate(body) if "surrogate" in message else None
    if fault is not None:
        return BodyError(f"{fault.place or 'the body'}: {fault.why}", field=fault.place)
    return BodyError("the body is not valid JSON (UTF-8, no NaN)")


_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_MARKS = (b"{", b"[", b":")
"""Characters that occur once per object, list and member, outside strings."""


def values_in(body: bytes, enough: int) -> int:
    """Count the members, objects and lists of a JSON body before it is parsed.

    Creating the objects is what takes time. Strings and numbers in a list are not counted, because
    a prompt may be a long list of token ids.

    Returns:
        The count if it is above `enough`, else any number up to `enough`.

    """
    most = sum(map(body.count, _MARKS))
    if most <= enough:
        return most
    bare = _TEXT.sub(b"", body)
    return sum(map(bare.count, _MARKS))


def _check_depth(value: dict[str, Any]) -> None:
    """Refuse nesting that would exceed Python's recursion limit later: orjson writes 254 levels."""
    try:
        orjson.dumps(value)
    except TypeError:
        raise BodyError(_TOO_DEEP) from None


def body_reader(kind: Any) -> Callable[[Request], Awaitable[Any]]:
    """Make a dependency that reads the body: as `kind` if that is a model, else as any object.

    Raises `BodyError`, or `InvalidInputError`, which names fields and never what was sent.
    """

    async def read(request: Request) -> Any:
        value = await read_object(request)
        return parsed(kind, value) if is_model(kind) else value

    return read


def is_model(kind: Any) -> bool:
    """Return whether a body with this annotation is validated as a model."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def parsed(model: type[Model], value: Mapping[str, Any]) -> Model:
    """The value as `model`; raises `InvalidInputError`, which never tells what was sent."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidInputError(problems(error, model)) from None
