"""What counts as a wrong or missing call, measured against live's answer to the same question."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.answer_parts import ToolCall
from retrain.evaluation.tool_calls import CallCheck, Fault, check_calls, offered_tools

pytestmark = pytest.mark.pure

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": CITY}},
    {"type": "function", "function": {"name": "time"}},
]
ASKED = {"messages": [], "tools": TOOLS}
GOOD = ToolCall("weather", '{"city": "Berlin"}')
OTHER = ToolCall("weather", '{"city": "Rome"}')
TIME = ToolCall("time", "{}")


def fault(candidate: list[ToolCall], live: list[ToolCall], **asked: Any) -> Fault | None:
    check = check_calls({**ASKED, **asked}, candidate, live)
    assert check is not None
    assert check.due == (bool(live) or check.fault is not None)
    return check.fault


@pytest.mark.parametrize(
    ("candidate", "live", "expected"),
    [
        ([GOOD], [GOOD], None),
        ([OTHER], [GOOD], None),  # which city is right is the judge's to say
        ([], [], None),
        ([GOOD], [], None),  # so is whether a tool was needed
        ([], [GOOD], "missing"),
        ([TIME], [GOOD], "another"),
        ([GOOD], [GOOD, OTHER], "another"),
        ([GOOD, TIME], [TIME, GOOD], None),
        ([GOOD, TIME], [GOOD], "another"),
        ([ToolCall("weather", '{"town": "Berlin"}')], [GOOD], "invalid"),
        ([ToolCall("weather", '{"city": 3}')], [GOOD], "invalid"),
        ([ToolCall("weather", '{"city": "Ber')], [GOOD], "invalid"),
        ([ToolCall("weather", '["Berlin"]')], [GOOD], "invalid"),
        ([ToolCall("sunrise", "{}")], [], "invalid"),
        ([ToolCall("time", "")], [TIME], None),
        ([ToolCall("weather", "{}")], [ToolCall("weather", "{}")], None),  # live's fault as well
    ],
)
def test_faults(candidate: list[ToolCall], live: list[ToolCall], expected: Fault | None) -> None:
    assert fault(candidate, live) == expected


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"tools": []},
        {"tools": None},
        {"tools": TOOLS, "tool_choice": "none"},
        {"functions": [{"name": "f"}], "function_call": "none"},
    ],
)
def test_without_tools_there_is_nothing_to_check(asked: dict[str, Any]) -> None:
    assert check_calls({"messages": [], **asked}, [], [GOOD]) is None


def test_the_older_functions_are_tools() -> None:
    functions = [{"name": "weather", "parameters": CITY}]
    assert offered_tools({"functions": functions}) == {"weather": CITY}
    check = check_calls({"functions": functions}, [], [GOOD])
    assert check == CallCheck(due=True, fault="missing")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "http://127.0.0.1:9/never-fetched"},
        {"properties": {"city": {"pattern": "(a+)+$"}}},
        {"properties": {"city": {"pattern": "("}}},
        {"patternProperties": {"(a+)+$": {}}},
        None,
        "text",
    ],
)
def test_a_schema_that_cannot_be_applied_speaks_against_no_call(schema: Any) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
    long = ToolCall("weather", json.dumps({"city": "a" * 40 + "!", "a" * 40 + "!": 1}))
    assert fault([long], [GOOD], tools=tools) is None


names = st.sampled_from(["weather", "time", "sunrise"])
arguments = st.sampled_from(['{"city": "x"}', "{}", "{"])
made = st.lists(st.builds(ToolCall, names, arguments), max_size=3)


@given(live=made)
def test_who_calls_as_live_does_is_at_no_fault(live: list[ToolCall]) -> None:
    assert fault(live, live) is None


@given(candidate=made, live=made)
def test_order_makes_no_difference(candidate: list[ToolCall], live: list[ToolCall]) -> None:
    assert fault(candidate, live) == fault(candidate[::-1], live[::-1])
