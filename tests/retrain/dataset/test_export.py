"""Exported pairs say what the answers said and called."""

import json
from typing import Any

import pytest

from retrain.dataset.export import exported
from retrain.dataset.pairs import Pair, pairs_of
from tests.retrain.dataset.test_pairs import NOBODY_HELD_OUT, SERVED, answer, conversation, prefer

pytestmark = pytest.mark.pure


def message(name: str, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    call = {"id": "call_1", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call], **more}


def pair() -> Pair:
    called = answer(0, "<tool_call>…", message=message("price", '{"of":"rose"}', reasoning="hm"))
    said = answer(1, "It costs 3.")
    judged = conversation([called, said], [prefer(0, 0, 1)])
    (found,) = pairs_of(judged, NOBODY_HELD_OUT, SERVED).pairs
    return found


def test_trl_gets_arguments_as_an_object_and_reasoning_apart() -> None:
    row = exported(pair(), "trl")
    assert row is not None
    call = {"type": "function", "function": {"name": "price", "arguments": {"of": "rose"}}}
    assert row["chosen"] == [
        {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [call]}
    ]
    assert row["rejected"] == [{"role": "assistant", "content": "It costs 3."}]


def test_openai_gets_arguments_as_text_and_ids() -> None:
    row = exported(pair(), "openai")
    assert row is not None
    (turn,) = row["preferred_output"]
    (call,) = turn["tool_calls"]
    assert (turn["content"], call["id"]) == (None, "call_0")
    assert json.loads(call["function"]["arguments"]) == {"of": "rose"}
