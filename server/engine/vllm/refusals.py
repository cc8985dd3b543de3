"""Rewrites the errors of vLLM, pydantic and chat templates, which may quote the client's text."""

import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from server.engine.base import Endpoint, EngineCall
from server.engine.errors import RequestRefusedError
from server.engine.requests.checks import refuse
from server.engine.requests.paths import KNOWN, place
from server.engine.requests.rules import too_long

_TOO_LONG = re.compile(r"maximum context length is (\d+) tokens")
_OUT_OF_VOCABULARY = re.compile(r"out of vocabulary", re.IGNORECASE)
_STRUCTURE = re.compile(r"\b(grammar|schema|regex|choice)\b", re.IGNORECASE)
_EFFORT = re.compile(r"reasoning.?effort", re.IGNORECASE)
_FIELD = re.compile(r"[a-z][a-z_]{1,39}(?:\.[a-z_]{1,39})*")
_LENGTHS = ("max_tokens", "max_completion_tokens")
NO_CHAT_TEMPLATE = "the model has no chat template; set engine.chat_template."
_REFUSED = "The engine refused this."
_WHY: Mapping[str, str] = {
    "thinking_token_budget": "needs engine.reasoning_parser, which this server has not set.",
}
"""Fields for which only one reason is left once Pawl's own checks have passed."""

_CLEAR = frozenset({"missing", "literal_error"})
_CLEAR_ENDINGS = ("_type", "_parsing")
"""Types of pydantic errors whose message says what was expected and quotes no input."""
_EXPECTED: Mapping[str, str] = {
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dataclass_type": "an object",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}


def is_unexplained(refused: RequestRefusedError) -> bool:
    """Return whether the refusal names neither a field nor a reason, so only the log can help."""
    return refused.message == _REFUSED


def refusal(
    message: str, *, status: int, param: str | None = None, endpoint: Endpoint = "chat"
) -> RequestRefusedError:
    """Return a refusal of Pawl for one of vLLM, whose message may quote the request."""
    if found := _TOO_LONG.search(message):
        return too_long(endpoint, int(found.group(1)))
    if param in _LENGTHS:  # the value alone fits the context, so the prompt leaves no room for it
        return too_long(endpoint, None)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return RequestRefusedError("The engine is busy; try again later.", status=status)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return RequestRefusedError("The engine failed on this request.", status=status)
    return _unnamed(message, param, endpoint) or _named(param or _first_word(message), status)


def _unnamed(message: str, param: str | None, endpoint: Endpoint) -> RequestRefusedError | None:
    """Return the refusal for a message of vLLM that does not name the field; else None."""
    if "--tool-call-parser" in message:
        why = "this server reads no tool calls; set engine.tool_call_parser."
        return refuse("tool_choice", why)
    if param is None and _OUT_OF_VOCABULARY.search(message):
        asked = "messages" if endpoint == "chat" else "prompt"
        return refuse(asked, "holds a token id that the model does not have.")
    if param is None and _STRUCTURE.search(message):
        return _no_structure()
    return None


def _named(shown: str | None, status: int) -> RequestRefusedError:
    if shown is None or not _FIELD.fullmatch(shown):
        return RequestRefusedError(_REFUSED, status=status)
    why = _WHY.get(shown, "the engine does not take this value.")
    return RequestRefusedError(f"{shown}: {why}", param=shown, status=status)


def unless_structure(refused: RequestRefusedError, call: EngineCall) -> RequestRefusedError:
    """Return a 400 if the engine failed on the request's grammar, else `refused` itself.

    vLLM's engine (`vllm.v1.structured_output`) reports a grammar that does not compile as an
    internal error (500).
    """
    asked = any(call.body.get(name) for name in ("response_format", "structured_outputs", "tools"))
    failed = refused.status == HTTPStatus.INTERNAL_SERVER_ERROR
    ended = all(choice.finish_reason == "error" for choice in call.tap.choices.values())
    return _no_structure() if asked and failed and ended else refused


def _no_structure() -> RequestRefusedError:
    return refuse("response_format", "the engine cannot follow this schema or grammar.")


def template_refusal(error: BaseException) -> RequestRefusedError | None:
    """Return the refusal for an error of the chat template, or None for any other error.

    Looks at all causes, because vLLM (since 0.32) raises the template's error as the cause of its
    own (`vllm.renderers.hf`). Compares class names, so that this module need not import jinja2 and
    vLLM's renderers.
    """
    causes = list(causes_of(error))
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    if "ChatTemplateResolutionError" in kinds:
        return refuse("messages", NO_CHAT_TEMPLATE)
    raised = [cause for cause in causes if type(cause).__name__ == "TemplateError"]
    if any(_EFFORT.search(str(cause)) for cause in raised):
        return refuse("reasoning_effort", "the model's chat template does not take this value.")
    if raised:
        return refuse(
            "messages", "the model's chat template does not take these roles in this order."
        )
    if "TemplateError" in kinds or any(_in_template(cause) for cause in causes):
        return refuse("messages", "the model's chat template fails on what they hold.")
    return None


def _in_template(error: BaseException) -> bool:
    """Return whether the error passed through code that jinja2 compiled from a template."""
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            return True
        traceback = traceback.tb_next
    return False


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and the chain of errors that caused it, each once."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def invalid(errors: Sequence[Mapping[str, Any]]) -> RequestRefusedError:
    """Return a refusal for the first problem that pydantic found, with its place but no input.

    A value that fits no type of a union gives one error for each type. The errors at the deepest
    place come from the closest types; together they say what is expected there.
    """
    deepest = max(errors, key=lambda one: len(one["loc"]))
    shown = place(_parts(deepest))
    here = [one for one in errors if place(_parts(one)) == shown]
    return RequestRefusedError(f"{shown or 'The body'}: {_expectation(here)}.", param=shown)


def _parts(error: Mapping[str, Any]) -> list[str | int]:
    """Return the place without the names of a union's types, which pydantic inserts."""
    parts = [part for part in error["loc"] if isinstance(part, int) or part in KNOWN]
    return ["messages", *parts] if parts and isinstance(parts[0], int) else parts


def _expectation(errors: Sequence[Mapping[str, Any]]) -> str:
    kinds = [str(error["type"]) for error in errors]
    expected = list(dict.fromkeys(_EXPECTED[kind] for kind in kinds if kind in _EXPECTED))
    if len(errors) > 1 and expected:
        return f"must be {' or '.join(expected)}"
    speaks = kinds[0] in _CLEAR or kinds[0].endswith(_CLEAR_ENDINGS)
    return str(errors[0]["msg"]) if speaks else "is not valid"


def _first_word(message: str) -> str | None:
    word = message.split(maxsplit=1)[0] if message.strip() else ""
    return word if "_" in word or word == "stop" else None
