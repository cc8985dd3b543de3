"""Refusals in our own words: what vLLM and pydantic say may quote the client's text."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from server.engine.base import EngineCall
from server.engine.errors import RequestRefusedError

_TOO_LONG = re.compile(r"maximum context length is (\d+) tokens")
_STRUCTURE = re.compile(r"\b(grammar|schema|regex|choice)\b", re.IGNORECASE)
_FIELD = re.compile(r"[a-z][a-z_]{1,39}(?:\.[a-z_]{1,39})*")
_SPEAKING = frozenset({"missing", "literal_error"})
_SPEAKING_ENDINGS = ("_type", "_parsing")
"""Kinds of pydantic errors whose message says what was expected and quotes nothing."""
_PATH_WORDS = frozenset(
    {
        "role",
        "content",
        "type",
        "text",
        "name",
        "tool_calls",
        "tool_call_id",
        "function",
        "arguments",
        "parameters",
        "description",
        "strict",
        "id",
        "json_schema",
        "schema",
        "include_usage",
        "json",
        "regex",
        "choice",
        "grammar",
    }
)


def _too_long(limit: str) -> RequestRefusedError:
    return RequestRefusedError(
        f"The prompt is too long: prompt and answer together may have {limit} tokens.",
        param="messages",
    )


def refusal(message: str, *, status: int, param: str | None = None) -> RequestRefusedError:
    """What vLLM refused, without its words, which may quote the request."""
    if found := _TOO_LONG.search(message):
        return _too_long(found.group(1))
    if "--tool-call-parser" in message:
        return RequestRefusedError(
            "tool_choice: this server reads no tool calls; set engine.tool_call_parser.",
            param="tool_choice",
        )
    if param is None and status == HTTPStatus.BAD_REQUEST and _STRUCTURE.search(message):
        return _no_structure()
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return RequestRefusedError("The engine is busy; try again later.", status=status)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return RequestRefusedError("The engine failed on this request.", status=status)
    shown = param or _first_word(message)
    field = shown if shown and _FIELD.fullmatch(shown) else None
    return RequestRefusedError(
        f"{field}: the engine does not take this value." if field else "The engine refused this.",
        param=field,
        status=status,
    )


def unless_structure(refused: RequestRefusedError, call: EngineCall) -> RequestRefusedError:
    """`refused`, or the request's own fault where the engine failed on a grammar made from it.

    VLLM compiles some in its engine only, and reports those that fail as its own errors.
    """
    asked = any(call.body.get(name) for name in ("response_format", "structured_outputs", "tools"))
    failed = refused.status == HTTPStatus.INTERNAL_SERVER_ERROR
    ended = all(choice.finish_reason == "error" for choice in call.tap.choices.values())
    return _no_structure() if asked and failed and ended else refused


def _no_structure() -> RequestRefusedError:
    return RequestRefusedError(
        "response_format: the engine cannot follow this schema or grammar.",
        param="response_format",
    )


def template_refusal() -> RequestRefusedError:
    """The chat template raised: roles out of order, say."""
    return RequestRefusedError(
        "messages: the model's chat template does not take these roles in this order.",
        param="messages",
    )


def invalid(errors: Sequence[Mapping[str, Any]]) -> RequestRefusedError:
    """The first of pydantic's errors, with its place and no input.

    A message in a union of types gives one error for each type; the deepest is the nearest miss.
    """
    error = max(errors, key=lambda one: len(one["loc"]))
    place = ".".join(str(part) for part in error["loc"] if _is_place(part))
    kind = str(error["type"])
    speaks = kind in _SPEAKING or kind.endswith(_SPEAKING_ENDINGS)
    param = str(error["loc"][0]) if error["loc"] else None
    message = str(error["msg"]) if speaks else "is not valid"
    return RequestRefusedError(f"{place or param or 'The body'}: {message}.", param=param)


def _is_place(part: int | str) -> bool:
    return isinstance(part, int) or part in _PATH_WORDS


def _first_word(message: str) -> str | None:
    word = message.split(maxsplit=1)[0] if message.strip() else ""
    return word if "_" in word or word == "stop" else None
