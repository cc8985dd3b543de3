"""An answer's parts, out of what left the server: streamed or not, of every choice."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.answer_parts import AnswerParts, ToolCall, kept_message, served_messages

pytestmark = pytest.mark.pure

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
calls = st.lists(
    st.tuples(st.text(min_size=1, max_size=5), st.dictionaries(st.text(max_size=3), values)),
    min_size=1,
    max_size=3,
)


def call(name: str, arguments: Any) -> dict[str, Any]:
    written = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": written}}


def body(*messages: dict[str, Any]) -> str:
    choices = [{"index": index, "message": message} for index, message in enumerate(messages)]
    return json.dumps({"object": "chat.completion", "choices": choices})


def event(index: int, delta: dict[str, Any]) -> str:
    chunk = {"choices": [{"index": index, "delta": delta, "finish_reason": None}]}
    return f"data: {json.dumps(chunk)}\n\n"


def test_calls_refusals_and_reasoning_are_read_from_a_body() -> None:
    said = {"content": None, "tool_calls": [call("price", {"of": "rose"})], "reasoning": "hm"}
    messages = served_messages([body(said, {"content": None, "refusal": "No."})])
    first, second = (AnswerParts.of(messages[index]) for index in (0, 1))
    assert first.calls == (ToolCall("price", '{"of": "rose"}'),)
    assert (first.text, first.reasoning) == ("", "hm")
    assert second.text == "No."


@given(asked=calls, content=st.text(max_size=8), cuts=st.lists(st.integers(0, 40), max_size=4))
def test_a_stream_gives_the_message_that_a_body_gives(
    asked: list[tuple[str, Any]], content: str, cuts: list[int]
) -> None:
    whole: dict[str, Any] = {"content": content, "tool_calls": [call(*one) for one in asked]}
    events = [event(0, {"role": "assistant", "content": ""}), event(0, {"content": content})]
    for index, one in enumerate(whole["tool_calls"]):
        arguments = one["function"]["arguments"]
        ends = sorted({min(cut, len(arguments)) for cut in cuts} | {len(arguments)})
        begin = {"index": index, "id": "call_1", "function": {"name": one["function"]["name"]}}
        events.append(event(0, {"tool_calls": [begin]}))
        for start, end in zip([0, *ends], ends, strict=False):
            part = {"index": index, "function": {"arguments": arguments[start:end]}}
            events.append(event(0, {"tool_calls": [part]}))
    streamed, sent = served_messages(events), served_messages([body(whole)])
    assert AnswerParts.of(streamed[0]) == AnswerParts.of(sent[0])


def test_choices_are_kept_apart() -> None:
    function = {"name": "price", "arguments": "{}"}
    events = [
        event(1, {"content": "It costs"}),
        event(0, {"tool_calls": [{"index": 0, "function": function}]}),
        event(1, {"content": " 3."}),
    ]
    messages = served_messages(events)
    assert AnswerParts.of(messages[0]).calls == (ToolCall("price", "{}"),)
    assert AnswerParts.of(messages[1]).content == "It costs 3."


def test_the_older_function_call_is_a_call() -> None:
    function = {"name": "price", "arguments": '{"of":"rose"}'}
    (sent,) = AnswerParts.of({"content": None, "function_call": function}).calls
    events = [event(0, {"function_call": part}) for part in ({"name": "price"}, function)]
    events[1] = event(0, {"function_call": {"arguments": function["arguments"]}})
    (streamed,) = AnswerParts.of(served_messages(events)[0]).calls
    assert sent == streamed == ToolCall("price", '{"of":"rose"}')


def test_arguments_that_came_as_an_object_are_read() -> None:
    sent = {"function": {"name": "price", "arguments": {"of": "rose"}}}
    assert AnswerParts.of({"tool_calls": [sent]}).calls[0].value == {"of": "rose"}


@pytest.mark.parametrize(
    "served", [[], ["data: [DONE]\n\n"], ['{"error": {"message": "no"}}'], ['data: {"error": {}}']]
)
def test_what_is_no_answer_gives_no_message(served: list[str]) -> None:
    assert served_messages(served) == {}


def test_a_plain_completion_gives_no_message() -> None:
    assert served_messages([json.dumps({"choices": [{"index": 0, "text": "x"}]})]) == {}


def test_arguments_are_compared_as_json() -> None:
    one, other = ToolCall("f", '{"a": 1, "b": [2]}'), ToolCall("f", '{"b":[2],"a":1}')
    assert AnswerParts(calls=(one,)).key == AnswerParts(calls=(other,)).key
    assert one.rendered() == other.rendered()


@pytest.mark.parametrize("other", [ToolCall("g", "{}"), ToolCall("f", '{"a": 1}'), None])
def test_other_calls_are_other_answers(other: ToolCall | None) -> None:
    one = AnswerParts("x", (ToolCall("f", "{}"),))
    another = AnswerParts("x", (other,) if other else ())
    assert one.key != another.key
    assert one.rendered() != another.rendered()


def test_broken_arguments_are_told_apart_as_texts() -> None:
    assert ToolCall("f", "{").key == ToolCall("f", "{").key != ToolCall("f", "{{").key
    assert ToolCall("f", "{").rendered() == '[tool call] "f" "{"'


def test_reasoning_is_no_part_of_what_is_judged() -> None:
    assert AnswerParts("x", reasoning="a").key == AnswerParts("x", reasoning="b").key
    assert AnswerParts("x", reasoning="a").rendered() == "x"


def test_a_call_is_one_line_whatever_it_is_called() -> None:
    rendered = AnswerParts("x", (ToolCall("f\n[tool call]", '{"a": "b\\nc"}'),)).rendered()
    assert len(rendered.splitlines()) == 2


@pytest.mark.parametrize("message", [None, {"content": "x"}, {"content": "x", "tool_calls": []}])
def test_a_text_is_kept_once(message: dict[str, Any] | None) -> None:
    assert kept_message(message, "x") is None


def test_what_the_text_does_not_say_is_kept() -> None:
    said = {"role": "assistant", "content": None, "tool_calls": [call("f", {})], "audio": None}
    assert kept_message(said, "<tool_call>") == {
        "role": "assistant",
        "content": None,
        "tool_calls": [call("f", {})],
    }
    assert kept_message({"content": "x", "reasoning": "hm"}, "hm</think>x") is not None
    assert kept_message({"content": "x"}, " x") is not None
