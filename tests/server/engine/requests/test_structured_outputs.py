"""Sizes and counts of what an answer must follow, whichever way a request says it."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.config import StructuredOutputsConfig
from server.engine.errors import RequestRefusedError
from server.engine.requests.structured_outputs import bounded_structure

LIMITS = StructuredOutputsConfig()
Say = Callable[[Any], dict[str, Any]]


def asked(**kind: Any) -> dict[str, Any]:
    return {"structured_outputs": kind}


def as_json(schema: Any) -> dict[str, Any]:
    return asked(json=schema)


def as_text(schema: Any) -> dict[str, Any]:
    return asked(json=json.dumps(schema))


def as_format(schema: Any) -> dict[str, Any]:
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    return {"response_format": wanted}


def as_tool(schema: Any, **fields: Any) -> dict[str, Any]:
    tool = {"type": "function", "function": {"name": "act", "parameters": schema, **fields}}
    return {"tools": [tool], "tool_choice": "required"}


def as_named_tool(schema: Any) -> dict[str, Any]:
    return as_tool(schema) | {"tool_choice": {"type": "function", "function": {"name": "act"}}}


def as_strict_tool(schema: Any) -> dict[str, Any]:
    return as_tool(schema, strict=True) | {"tool_choice": "auto"}


def as_one_call(schema: Any) -> dict[str, Any]:
    return as_tool(schema) | {"tool_choice": "auto", "parallel_tool_calls": False}


WAYS = [as_json, as_text, as_format, as_tool, as_named_tool, as_strict_tool, as_one_call]


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def properties(count: int) -> dict[str, Any]:
    return {f"p{number}": {"type": "string"} for number in range(count)}


TOO_LARGE: dict[str, Any] = {
    "a long constant": {"const": "a" * 20_000},
    "a long value of an enum": {"enum": ["a" * 20_000]},
    "many values": {"enum": [f"value {number}" for number in range(2_000)]},
    "many texts in all": {"enum": [f"{number:0200}" for number in range(900)]},
    "many optional properties": {"type": "object", "properties": properties(300)},
    "many properties": {
        "type": "object",
        "properties": properties(2_000),
        "required": list(properties(2_000)),
    },
    "a long name": {"type": "object", "properties": {"k" * 20_000: {"type": "string"}}},
    "many branches": {"anyOf": [{"type": "string"}] * 2_000},
    "many parts in all": {"anyOf": [{"anyOf": [{"type": "string"}] * 40}] * 90},
    "deep": nested(40),
    "deep lists": {"enum": [json.loads("[" * 50 + "]" * 50)]},
    "maxLength": {"type": "string", "maxLength": 10**6},
    "minLength": {"type": "string", "minLength": 10**6},
    "maxItems": {"type": "array", "items": {}, "maxItems": 10**9},
    "minItems": {"type": "array", "items": {}, "minItems": 10**9},
    "a fraction": {"type": "string", "maxLength": 1e300},
    "minProperties": {"type": "object", "minProperties": 10**6},
    "a long pattern": {"type": "string", "pattern": "a" * 2_000},
    "a pattern that repeats": {"type": "string", "pattern": "(a{100}){100}"},
    "a pattern in a pattern in a pattern": {"type": "string", "pattern": "((a+)+)+"},
    "a pattern of many": {"type": "string", "pattern": "a*b?" * 40},
    "patterns as names": {"type": "object", "patternProperties": {"((a+)+)+": {}}},
    "a reference to elsewhere": {"$ref": "https://example.org/schema.json"},
    "a reference of several lines": {"$ref": "#/$defs/a\nforged line"},
}


@pytest.mark.parametrize("say", WAYS)
@pytest.mark.parametrize("schema", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_schema_that_is_too_large_is_refused_whichever_way_it_is_sent(
    say: Say, schema: Any
) -> None:
    fields = say(schema)
    with pytest.raises(RequestRefusedError) as refused:
        bounded_structure(fields, LIMITS)
    assert refused.value.status == 400
    assert refused.value.param == next(iter(fields))
    assert len(refused.value.message) < 200


@pytest.mark.parametrize(
    "kind",
    [
        {"choice": ["a" * 950_000]},
        {"choice": ["a"] * 2_000},
        {"choice": [f"{number:0200}" for number in range(900)]},
        {"regex": "a" * 2_000},
        {"regex": "(((a)+)+)+"},
        {"regex": "[a-z]{100000}"},
        {"regex": "a{,100000}"},
        {"json": "[" * 100_000},
        {"json": '"' + "a" * 100_000 + '"'},
    ],
)
def test_what_is_too_large_is_refused(kind: dict[str, Any]) -> None:
    with pytest.raises(RequestRefusedError):
        bounded_structure(asked(**kind), LIMITS)


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"json": "{"},
        {"json": "true"},
        {"json": []},
        {"choice": "a"},
        {"choice": []},
        {"choice": [""]},
        {"choice": [1]},
        {"regex": ""},
        {"regex": 1},
        {"json_object": False},
        {"regex": "a", "choice": ["a"]},
        {"whitespace_pattern": "a*", "json_object": True},
        {"_backend": "guidance", "json_object": True},
    ],
)
def test_what_cannot_be_followed_is_refused(kind: dict[str, Any]) -> None:
    with pytest.raises(RequestRefusedError):
        bounded_structure(asked(**kind), LIMITS)


RAW = [
    asked(grammar='root ::= "a"'),
    asked(structural_tag="{}"),
    {"response_format": {"type": "structural_tag", "format": {"type": "any_text"}}},
]


@pytest.mark.parametrize("fields", RAW)
def test_raw_grammars_are_refused_unless_the_settings_allow_them(fields: dict[str, Any]) -> None:
    with pytest.raises(RequestRefusedError, match="raw_grammars"):
        bounded_structure(fields, LIMITS)
    bounded_structure(fields, StructuredOutputsConfig(raw_grammars=True))


USUAL: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 80, "description": "How the plant is called."},
        "pattern": {"type": "string", "pattern": r"^[A-Z][a-z]+( [A-Z][a-z]+)*$"},
        "count": {"type": "integer", "minimum": 0, "maximum": 10**12},
        "tags": {"type": "array", "items": {"enum": ["red", "green"]}, "maxItems": 10},
        "next": {"$ref": "#/$defs/plant"},
    },
    "required": ["name"],
    "$defs": {"plant": nested(6)},
}


@pytest.mark.parametrize("say", WAYS)
def test_a_usual_schema_passes_whichever_way_it_is_sent(say: Say) -> None:
    bounded_structure(say(USUAL), LIMITS)


@pytest.mark.parametrize(
    "kind",
    [
        {"choice": ["yes", "no"]},
        {"regex": r"\d{4}-\d{2}-\d{2}"},
        {"regex": r"[a-z0-9]+(-[a-z0-9]+)*"},
        {"json_object": True},
        {"json": USUAL, "disable_any_whitespace": True, "regex": None},
    ],
)
def test_what_is_usual_passes(kind: dict[str, Any]) -> None:
    bounded_structure(asked(**kind), LIMITS)


def test_a_schema_sent_as_text_is_compiled_as_it_was_measured() -> None:
    twice = '{"type": "string", "maxLength": 1000000, "maxLength": 5}'
    assert bounded_structure(asked(json=twice), LIMITS) == as_json(
        {"type": "string", "maxLength": 5}
    )


def test_tools_that_are_only_text_in_the_prompt_may_be_large() -> None:
    fields = as_tool(TOO_LARGE["many values"]) | {"tool_choice": "auto"}
    bounded_structure(fields, LIMITS)
    bounded_structure(fields | {"tool_choice": "none", "parallel_tool_calls": False}, LIMITS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.sampled_from(WAYS), JSON)
def test_any_json_is_taken_or_refused(say: Say, schema: Any) -> None:
    with suppress(RequestRefusedError):  # anything else fails
        bounded_structure(say(schema), LIMITS)
