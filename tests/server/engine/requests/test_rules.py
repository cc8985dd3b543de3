"""The allow-list and its bounds, as a pure function."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.base import EngineCall, Tap
from server.engine.errors import RequestRefusedError
from server.engine.requests.rules import Limits, accepted_fields, overruled

pytestmark = pytest.mark.pure

MESSAGES = [{"role": "user", "content": "Hello"}]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(
    ["messages", "n", "stop", "seed", "logit_bias", "stream_options", "temperature", "top_k"]
) | st.text(max_size=12)


@given(st.dictionaries(field_names, json_values, max_size=4))
def test_any_body_is_accepted_or_refused(body: dict[str, Any]) -> None:
    with suppress(RequestRefusedError):
        assert "messages" in accepted_fields(body, "chat")


@given(st.text(min_size=4, alphabet=st.characters(min_codepoint=0x400, max_codepoint=0x4FF)))
def test_a_refusal_quotes_neither_names_nor_values(text: str) -> None:
    for body in ({text: 1}, {"stop_token_ids": [text]}, {"chat_template_kwargs": {text: text}}):
        with pytest.raises(RequestRefusedError) as refused:
            accepted_fields(body | {"messages": MESSAGES}, "chat")
        assert text not in refused.value.message
        assert text not in (refused.value.param or "")


def test_null_counts_as_absent() -> None:
    body = {"messages": MESSAGES, "priority": None, "stop": None}
    assert accepted_fields(body, "chat") == {"messages": MESSAGES}


def test_what_asks_nothing_of_the_model_is_dropped() -> None:
    body = {"messages": MESSAGES, "model": "pawl", "user": "u", "metadata": {}, "echo": False}
    assert accepted_fields(body, "chat") == {"messages": MESSAGES}


def test_a_seed_passes_where_the_engine_takes_one() -> None:
    body = {"messages": MESSAGES, "seed": 7}
    assert accepted_fields(body, "chat", Limits(seed=True))["seed"] == 7


def test_a_seed_is_refused_where_the_engine_takes_none() -> None:
    with pytest.raises(RequestRefusedError, match="seed"):
        accepted_fields({"messages": MESSAGES, "seed": 7}, "chat", Limits(seed=False))


def test_include_usage_is_the_only_stream_option_that_passes() -> None:
    options = {"include_usage": True, "include_obfuscation": False}
    fields = accepted_fields({"messages": MESSAGES, "stream_options": options}, "chat")
    assert fields["stream_options"] == {"include_usage": True}


def test_the_server_sets_name_id_priority_and_salt() -> None:
    call = EngineCall(
        id="chatcmpl-abc",
        endpoint="chat",
        model="pawl@2026-w47-3f9c1a",
        version="2026-w47-3f9c1a",
        body={},
        tap=Tap(),
        priority=9,
        cache_salt="tenant/@one",
    )
    fields = overruled(call)
    assert fields.pop("cache_salt").isalnum()
    assert fields == {"model": "2026-w47-3f9c1a", "request_id": "abc", "priority": 9}


def test_deep_nesting_is_refused() -> None:
    deep: Any = "x"
    for _ in range(600):
        deep = [deep]
    with pytest.raises(RequestRefusedError):
        accepted_fields({"messages": MESSAGES, "tools": deep}, "chat")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stop", ""),
        ("stop", [1]),
        ("stop", {"a": 1}),
        ("tools", "all"),
        ("tools", [{"type": "function"}]),
        ("tool_choice", "often"),
        ("tool_choice", {"function": {"name": 3}}),
    ],
)
def test_what_no_engine_understands_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        accepted_fields({"messages": MESSAGES, field: value}, "chat")
    assert refused.value.param == field
