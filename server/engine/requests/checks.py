"""Checks of single request fields. Messages name the field and hold nothing of what was sent."""

import math
from collections.abc import Callable
from typing import Any

from server.engine.errors import RequestRefusedError

Check = Callable[[str, Any], None]
"""Raises `RequestRefusedError` for the named field's value."""

INT32 = 2**31 - 1

_ROLES = ("system", "developer", "user", "assistant", "tool")
_TEMPLATE_SWITCHES = frozenset({"enable_thinking", "thinking"})
_MAX_STOPS = 64
_MAX_TOOLS = 128
_TOOL_CHOICES = ("none", "auto", "required")
_MAX_BIASES = 1024


def refuse(field: str, why: str) -> RequestRefusedError:
    """The refusal of a field."""
    return RequestRefusedError(f"{field}: {why}", param=field)


def number(low: float, high: float, *, whole: bool = False) -> Check:
    """A finite number within bounds, both included."""
    kind = "a whole number" if whole else "a number"

    def check(field: str, value: Any) -> None:
        good = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not (good and math.isfinite(value) and low <= value <= high):
            raise refuse(field, f"must be {kind} from {low:g} to {high:g}.")

    return check


def flag(field: str, value: Any) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise refuse(field, "must be true or false.")


def token_ids(limit: int) -> Check:
    """A short list of token ids."""

    def check(field: str, value: Any) -> None:
        if not isinstance(value, list) or len(value) > limit or not all(map(_is_id, value)):
            raise refuse(field, f"must be a list of at most {limit} token ids.")

    return check


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= INT32


def logit_bias(field: str, value: Any) -> None:
    """OpenAI's map from token ids to biases."""
    if not isinstance(value, dict) or len(value) > _MAX_BIASES:
        raise refuse(field, f"must map at most {_MAX_BIASES} token ids to numbers.")
    for token, bias in value.items():
        if not token.isascii() or not token.isdigit() or int(token) > INT32:
            raise refuse(field, "its keys must be token ids.")
        number(-100, 100)(field, bias)


def messages(field: str, value: Any) -> None:
    """Turns of text with a known role."""
    if not isinstance(value, list) or not value:
        raise refuse(field, "must be a list with at least one message.")
    for message in value:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise refuse(field, f"each message needs a role: {', '.join(_ROLES)}.")
        content = message.get("content")
        if not isinstance(content, str | list | None):
            raise refuse(field, "each content must be a text or a list of text parts.")
        parts = content if isinstance(content, list) else []
        if not all(isinstance(part, dict) and part.get("type") == "text" for part in parts):
            raise refuse(field, "only text is answered here, no images, audio or files.")


def prompt(field: str, value: Any) -> None:
    """One text or one list of token ids."""
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not value or not all(map(_is_id, value)):
        raise refuse(field, "must be one text or one list of token ids; send others on their own.")


def stream_options(field: str, value: Any) -> None:
    """Only what is passed on or ignored."""
    if not isinstance(value, dict) or not value.keys() <= {"include_usage", "include_obfuscation"}:
        raise refuse(field, "only include_usage can be set.")
    for option in value.values():
        flag(field, option)


def template_switches(field: str, value: Any) -> None:
    """The chat template's switches that are known to be harmless."""
    if not isinstance(value, dict) or not value.keys() <= _TEMPLATE_SWITCHES:
        raise refuse(field, f"only {' and '.join(sorted(_TEMPLATE_SWITCHES))} can be set.")
    for switch in value.values():
        flag(field, switch)


def anything(_field: str, _value: Any) -> None:
    """VLLM's own validation is enough."""


def stop(field: str, value: Any) -> None:
    """One text or a few."""
    texts = [value] if isinstance(value, str) else value
    good = isinstance(texts, list) and len(texts) <= _MAX_STOPS
    if not good or not all(isinstance(text, str) and text for text in texts):
        raise refuse(field, f"must be a text or a list of at most {_MAX_STOPS} texts, none empty.")


def tools(field: str, value: Any) -> None:
    """Functions with a name each."""
    if not isinstance(value, list) or len(value) > _MAX_TOOLS or not all(map(_is_named, value)):
        raise refuse(field, f"must be a list of at most {_MAX_TOOLS} functions with a name each.")


def tool_choice(field: str, value: Any) -> None:
    """A word, or one function by its name."""
    if value not in _TOOL_CHOICES and not _is_named(value):
        raise refuse(field, f"must be {', '.join(_TOOL_CHOICES)} or name one function.")


def _is_named(value: Any) -> bool:
    function = value.get("function") if isinstance(value, dict) else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)
