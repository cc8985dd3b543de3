"""Translates the sampling parameters of LangChain's integrations to Pawl's names and bounds."""

from collections.abc import Mapping
from typing import Any

_STOPS_MAX = 64
_TOKENS_MAX = 2**31 - 1


def sampling_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the invocation parameters that Pawl accepts, by Pawl's names.

    These are `temperature` (0 to 2), `top_p` (0 to 1), `max_tokens` and `stop`. Values outside
    Pawl's bounds are left out, since they may mean something else to another provider's model.
    """
    found = {
        "temperature": _number(params.get("temperature"), 2),
        "top_p": _number(params.get("top_p"), 1),
        "max_tokens": _whole(_first(params, "max_tokens", "max_completion_tokens")),
        "stop": _texts(_first(params, "stop", "stop_sequences")),
    }
    return {name: value for name, value in found.items() if value is not None}


def _first(params: Mapping[str, Any], *names: str) -> Any:
    return next((params[name] for name in names if params.get(name) is not None), None)


def _number(value: Any, high: int) -> float | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= high
    return value if fits else None


def _whole(value: Any) -> int | None:
    fits = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _TOKENS_MAX
    return value if fits else None


def _texts(value: Any) -> list[str] | None:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not 1 <= len(texts) <= _STOPS_MAX:
        return None
    return list(texts) if all(isinstance(text, str) and text for text in texts) else None
