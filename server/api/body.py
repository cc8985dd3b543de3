"""Reading a request's body: bounded, strict JSON, and errors that never echo it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feedback.errors import InvalidInputError
from feedback.schemas import problems
from server.engine.requests.json_values import lone_surrogate
from server.errors import BodyError, BodyTooLargeError

Model = TypeVar("Model", bound=BaseModel)


class BodyLimit:
    """ASGI middleware: reads no more than `limit` bytes of any request."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let whoever reads the body meet `BodyTooLargeError`, before or while reading it."""
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
    """The body as a JSON object; raises `BodyError`.

    Strict: no NaN, no lone surrogates, no bottomless nesting (orjson refuses them). The content
    type must be JSON's, which a foreign web page cannot send without the server's leave (CSRF).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BodyError("send the header 'Content-Type: application/json'")
    try:
        value = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise _why_refused(await request.body()) from None
    if not isinstance(value, dict):
        raise BodyError("the body must be a JSON object")
    _check_depth(value)
    return value


def _why_refused(body: bytes) -> BodyError:
    """What the strict parser does not take: no JSON, or JSON with half of a character in it."""
    fault = lone_surrogate(body)
    if fault is not None:
        return BodyError(f"{fault.place or 'the body'}: {fault.why}", field=fault.place)
    return BodyError("the body is not valid JSON (UTF-8, no NaN)")


def _check_depth(value: dict[str, Any]) -> None:
    """Refuse what Python's own recursion would choke on later: orjson writes 254 levels."""
    try:
        orjson.dumps(value)
    except TypeError:
        raise BodyError("the body is nested too deeply: flatten it") from None


def json_body(model: type[Model]) -> Callable[[Request], Awaitable[Model]]:
    """Make a dependency that reads the body as `model`.

    Raises `BodyError`, or `InvalidInputError`, which names fields and never what was sent.
    """

    async def read(request: Request) -> Model:
        return parsed(model, await read_object(request))

    return read


def parsed(model: type[Model], value: Mapping[str, Any]) -> Model:
    """The value as `model`; raises `InvalidInputError`, which never tells what was sent."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidInputError(problems(error, model)) from None


def documented(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` for a route that reads its body through `json_body(model)`."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
