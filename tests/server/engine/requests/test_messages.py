"""What a conversation may hold, and where its refusals point."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.errors import RequestRefusedError
from server.engine.requests.rules import accepted_fields

pytestmark = pytest.mark.pure

USER = {"role": "user", "content": "Hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


def called(**changes: Any) -> dict[str, Any]:
    """A conversation whose second turn calls a tool."""
    function = {**CALL["function"], **changes.pop("function", {})}  # type: ignore[dict-item]
    call = {**CALL, "function": function, **changes}
    return {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [call]}]}


def said(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def offered(**changes: Any) -> dict[str, Any]:
    return {"messages": [USER], "tools": [TOOL, {"function": {"name": "f", **changes}}]}


def formatted(schema: Any) -> dict[str, Any]:
    return {
        "messages": [USER],
        "response_format": {"type": "json_schema", "json_schema": schema},
    }


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


FUNCTION = "messages[1].tool_calls[0].function"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (called(function={"arguments": {}}), f"{FUNCTION}.arguments"),
        (called(function={"arguments": None}), f"{FUNCTION}.arguments"),
        (called(function={"arguments": "[" * 5000}), f"{FUNCTION}.arguments"),
        (
            called(function={"arguments": '{"a":' * 5000 + "1" + "}" * 5000}),
            f"{FUNCTION}.arguments",
        ),
        (called(function={"arguments": '{"a": "\\ud83d"}'}), f"{FUNCTION}.arguments"),
        (called(function={"arguments": '{"a": ' + "9" * 5000 + "}"}), f"{FUNCTION}.arguments"),
        (called(function={"name": 3}), f"{FUNCTION}.name"),
        (called(id=None), "messages[1].tool_calls[0].id"),
        (called(type="custom"), "messages[1].tool_calls[0].type"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": 5}]}, "messages[1].tool_calls"),
        ({"messages": [{"role": "assistant", "tool_calls": [5]}]}, "messages[0].tool_calls[0]"),
        ({"messages": [USER, "hello"]}, "messages[1]"),
        ({"messages": [{"role": "owner", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "a"}]}, "messages[0].role"),
        ({"messages": [{**USER, "name": 5}]}, "messages[0].name"),
        (
            {"messages": [{"role": "tool", "content": "a", "tool_call_id": 5}]},
            "messages[0].tool_call_id",
        ),
        (said(None), "messages[0].content"),
        (said({"a": 1}), "messages[0].content"),
        (said([{"type": "image_url"}]), "messages[0].content[0]"),
        (said([{"type": "text", "text": "a"}, {"type": "text"}]), "messages[0].content[1].text"),
        (offered(name=3), "tools[1].function.name"),
        (offered(description=5), "tools[1].function.description"),
        (offered(strict="yes"), "tools[1].function.strict"),
        (offered(parameters=5), "tools[1].function.parameters"),
        (offered(parameters=nested(65)), "tools[1].function.parameters"),
        (
            {"messages": [USER], "tools": [TOOL, {"type": "x", "function": {"name": "f"}}]},
            "tools[1].type",
        ),
        (
            {"messages": [{"role": "developer", "content": "a", "tools": [5]}]},
            "messages[0].tools[0]",
        ),
        ({"messages": [USER], "tools": []}, "tools"),
        (
            {
                "messages": [USER],
                "tools": [TOOL],
                "tool_choice": {"type": "function", "function": {"name": "other"}},
            },
            "tool_choice",
        ),
        (
            {
                "messages": [USER],
                "response_format": {"type": "json_schema", "json_schema": nested(65)},
            },
            "response_format",
        ),
        ({"messages": [USER], "structured_outputs": {"json": "[" * 5000}}, "structured_outputs"),
    ],
)
def test_a_refusal_is_the_path_of_the_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        accepted_fields(body, "chat")
    assert refused.value.param == param
    assert refused.value.message.startswith(f"{param}: ")


@pytest.mark.parametrize(
    "body",
    [
        called(),
        called(function={"arguments": "not JSON at all"}),
        called(function={"arguments": '{"a": "' + "9" * 5000 + '"}'}),
        called(function={"arguments": '{"a": "\\ud83d\\ude00"}'}),
        called(function={"arguments": '{"text": "' + "[{" * 5000 + '"}'}),
        called(function={"arguments": "[" * 64 + "]" * 64}),
        offered(parameters=nested(64)),
        said([]),
        said([{"type": "text", "text": ""}]),
        {"messages": [USER, {"role": "assistant"}]},
        {"messages": [USER, {"role": "assistant", "content": "a", "refusal": None, "audio": None}]},
    ],
)
def test_what_clients_send_back_is_taken(body: dict[str, Any]) -> None:
    assert accepted_fields(body, "chat")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["role", "content", "tool_calls", "function", "arguments", "id", "type", "text"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_any_conversation_is_accepted_or_refused(conversation: Any) -> None:
    with suppress(RequestRefusedError):
        assert accepted_fields({"messages": conversation}, "chat")["messages"] == conversation
