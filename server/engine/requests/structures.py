"""Checks the form of OpenAI's `response_format` and vLLM's `structured_outputs`."""

from typing import Any

from server.engine.requests.checks import refuse
from server.engine.requests.json_values import NESTING_MAX, nests_deeper, text_nests_deeper

_JSON_TEXTS = ("json", "structural_tag")
"""Members of `structured_outputs` that may hold JSON as a string."""


_FORMATS = ("text", "json_object", "json_schema", "structural_tag")


def response_format(field: str, value: Any) -> None:
    """Require a `response_format` of a known type."""
    structure(field, value)
    if value.get("type") not in _FORMATS:
        raise refuse(f"{field}.type", f"must be one of {', '.join(_FORMATS)}.")
    if value["type"] == "json_schema" and not isinstance(value.get("json_schema"), dict):
        raise refuse(f"{field}.json_schema", "must be an object with a name and a schema.")


def structure(field: str, value: Any) -> None:
    """Require an object whose schema, also as a string, is not nested too deeply to parse."""
    if not isinstance(value, dict):
        raise refuse(field, "must be an object.")
    written = (value.get(name) for name in _JSON_TEXTS)
    if nests_deeper(value) or any(
        isinstance(one, str) and text_nests_deeper(one) for one in written
    ):
        raise refuse(field, f"is nested in more than {NESTING_MAX} levels: flatten it.")
