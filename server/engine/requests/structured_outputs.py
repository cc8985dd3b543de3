"""Bounds the schemas, lists of choices, regular expressions and grammars in a request.

The engine compiles each of them into an automaton over the model's whole vocabulary and cannot stop
a compilation; some compile at once but take seconds for each token. What is too large is refused
here, before the engine gets it. The bounds come from measurements (`python -m bench.grammars`,
docs/results.md).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from server.engine.config import StructuredOutputsConfig
from server.engine.errors import RequestRefusedError
from server.engine.requests.regex_shape import RegexShape, regex_shape

_KINDS = ("json", "json_object", "regex", "choice", "grammar", "structural_tag")
_SWITCHES = ("disable_any_whitespace", "disable_additional_properties")
_RAW_KINDS = ("grammar", "structural_tag")
_COUNTS = frozenset(
    {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
)
_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
_SHOWN_PARTS = 4


@dataclass(frozen=True, slots=True)
class _Bounds:
    """The bounds of the settings, and the field of the request that a refusal names."""

    field: str
    limits: StructuredOutputsConfig

    def refuse(self, why: str) -> RequestRefusedError:
        """Return the refusal; `why` must quote nothing of the request."""
        return RequestRefusedError(f"{self.field}: {why}", param=self.field)

    def at_most(self, what: str, value: float, limit: int, setting: str) -> None:
        """Refuse a `value` above its `limit` and name the setting of the limit."""
        if value > limit:
            raise self.refuse(
                f"{what} may be {limit:,} at most (engine.structured_outputs.{setting})."
            )


def bounded_structure(fields: Mapping[str, Any], limits: StructuredOutputsConfig) -> dict[str, Any]:
    """Check the fields of a request that constrain its answer, and return them for the engine.

    These are `structured_outputs`, `response_format` and, if vLLM makes a grammar of them, `tools`.
    A schema that was sent as a string is returned parsed, so that what is compiled is what was
    measured. Raises `RequestRefusedError`, naming the field and the bound.
    """
    if isinstance(fields.get("response_format"), dict):
        _check_format(fields["response_format"], _Bounds("response_format", limits))
    if "tools" in fields and _holds_to_tools(fields):
        _check_schema(fields["tools"], _Bounds("tools", limits))
    asked = fields.get("structured_outputs")
    if asked is None:
        return {}
    return {"structured_outputs": _checked(asked, _Bounds("structured_outputs", limits))}


def _check_format(wanted: Mapping[str, Any], bounds: _Bounds) -> None:
    """Check OpenAI's `response_format`: `json_schema`, or vLLM's extension `structural_tag`."""
    if wanted.get("type") == "structural_tag":
        _require_raw("structural_tag", bounds)
    _check_schema(wanted, bounds)


def _holds_to_tools(fields: Mapping[str, Any]) -> bool:
    """Return whether vLLM makes a grammar of the tools; else they are only text in the prompt."""
    if fields.get("tool_choice", "auto") not in ("auto", "none"):
        return True
    functions = [tool.get("function") or {} for tool in fields["tools"]]
    strict = any(function.get("strict") for function in functions)
    return fields.get("tool_choice") != "none" and (
        strict or fields.get("parallel_tool_calls") is False
    )


def _checked(asked: Any, bounds: _Bounds) -> dict[str, Any]:
    """Check vLLM's `structured_outputs`, which must have exactly one kind."""
    if not isinstance(asked, dict):
        raise bounds.refuse("must be an object.")
    given = {name: value for name, value in asked.items() if value is not None}
    if not given.keys() <= {*_KINDS, *_SWITCHES}:
        raise bounds.refuse(f"only {', '.join((*_KINDS, *_SWITCHES))} can be set.")
    kinds = [kind for kind in _KINDS if kind in given]
    if len(kinds) != 1:
        raise bounds.refuse(f"needs exactly one of {', '.join(_KINDS)}.")
    return given | {kinds[0]: _checked_kind(kinds[0], given[kinds[0]], bounds)}


def _checked_kind(kind: str, value: Any, bounds: _Bounds) -> Any:
    if kind in _RAW_KINDS:
        _require_raw(kind, bounds)
    if kind == "json":
        return _checked_json(value, bounds)
    if kind == "choice":
        _check_choices(value, bounds)
    elif kind == "json_object":
        if value is not True:
            raise bounds.refuse("json_object can only be true.")
    elif not isinstance(value, str) or not value:
        raise bounds.refuse(f"{kind} must be a text that is not empty.")
    elif kind == "regex":
        _check_pattern(value, bounds)
    else:
        _check_text(value, bounds)
    return value


def _require_raw(kind: str, bounds: _Bounds) -> None:
    if not bounds.limits.raw_grammars:
        raise bounds.refuse(
            f"{kind} is switched off on this server; send a JSON schema, a regex or choices"
            " (engine.structured_outputs.raw_grammars)."
        )


def _checked_json(value: Any, bounds: _Bounds) -> dict[str, Any]:
    schema = value
    if isinstance(value, str):
        bounds.at_most("characters", len(value), bounds.limits.chars, "chars")
        try:
            schema = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise bounds.refuse("json is not valid JSON.") from None
    if not isinstance(schema, dict):
        raise bounds.refuse("json must be a schema: an object.")
    _check_schema(schema, bounds)
    return schema


def _check_choices(value: Any, bounds: _Bounds) -> None:
    if not isinstance(value, list) or not value or not all(_is_text(one) for one in value):
        raise bounds.refuse("choice must be a list of texts, none empty.")
    _check_schema(value, bounds)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _check_text(text: str, bounds: _Bounds) -> None:
    """Bound a raw grammar by its length, which is all that can be measured without parsing it."""
    bounds.at_most("characters", len(text), bounds.limits.text_chars, "text_chars")


def _check_schema(schema: Any, bounds: _Bounds) -> None:
    """Bound a schema's size, its number of parts and its repetitions, whatever its keywords."""
    limits = bounds.limits
    size = 0
    for parts, (depth, key, value) in enumerate(_walk(schema), start=1):
        bounds.at_most("levels", depth, limits.depth, "depth")
        bounds.at_most("values in all", parts, limits.parts, "parts")
        size += _check_value(key, value, bounds)
        bounds.at_most("characters", size, limits.chars, "chars")


def _walk(schema: Any) -> Iterator[tuple[int, str, Any]]:
    """Yield the depth, the key and the value of everything in `schema`, without copying it."""
    open_parts: list[Iterator[tuple[str, Any]]] = [iter([("", schema)])]
    while open_parts:
        found = next(open_parts[-1], None)
        if found is None:
            open_parts.pop()
            continue
        key, value = found
        yield len(open_parts), key, value
        if isinstance(value, dict):
            open_parts.append(iter(value.items()))
        elif isinstance(value, list):
            open_parts.append(("", one) for one in value)


def _check_value(key: str, value: Any, bounds: _Bounds) -> int:
    """Bound one value under its key; return its number of characters."""
    limits = bounds.limits
    bounds.at_most("a name's characters", len(key), limits.text_chars, "text_chars")
    if isinstance(value, dict | list):
        bounds.at_most("entries of one list or object", len(value), limits.entries, "entries")
        if isinstance(value, dict):
            _check_object(key, value, bounds)
        return len(key) + 2
    if isinstance(value, str):
        _check_string(key, value, bounds)
        return len(key) + len(value) + 2
    if key in _COUNTS and isinstance(value, int | float):
        bounds.at_most(f"{key}", abs(value), limits.repeats, "repeats")
    return len(key) + 8


def _check_object(key: str, value: Mapping[str, Any], bounds: _Bounds) -> None:
    if key == "patternProperties":
        for pattern in value:
            _check_pattern(pattern, bounds)
    properties, required = value.get("properties"), value.get("required")
    if isinstance(properties, dict):
        named = (
            {one for one in required if isinstance(one, str)}
            if isinstance(required, list)
            else set()
        )
        optional = len(properties.keys() - named)
        limit = bounds.limits.optional_properties
        bounds.at_most("an object's optional properties", optional, limit, "optional_properties")


def _check_string(key: str, value: str, bounds: _Bounds) -> None:
    bounds.at_most("a text's characters", len(value), bounds.limits.text_chars, "text_chars")
    if key == "pattern":
        _check_pattern(value, bounds)
    if key in _REFERENCES and not (value.startswith("#") and value.isprintable()):
        raise bounds.refuse(f"{key} can only point into the schema itself (#/$defs/name).")


def _check_pattern(pattern: str, bounds: _Bounds) -> None:
    limits = bounds.limits
    bounds.at_most("a pattern's characters", len(pattern), limits.pattern_chars, "pattern_chars")
    shape: RegexShape = regex_shape(pattern)
    for what, value, limit, setting in (
        (
            "a pattern's quantifiers",
            shape.quantifiers,
            limits.pattern_quantifiers,
            "pattern_quantifiers",
        ),
        ("quantifiers within each other", shape.depth, limits.pattern_depth, "pattern_depth"),
        ("a pattern's repetitions", shape.size, limits.repeats, "repeats"),
    ):
        bounds.at_most(what, value, limit, setting)
