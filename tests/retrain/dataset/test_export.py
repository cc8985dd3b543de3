"""Exported pairs say what the answers said and called."""

import json
from typing import Any

import pytest

from retrain.dataset.export import exported, exported_rows
from retrain.dataset.pairs import Pair, pairs_of
from tests.retrain.dataset.test_pairs import (
    NOBODY_HELD_OUT,
    SERVED,
    answer,
    conversation,
    prefer,
    word,
)

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


def test_labels_are_rows_for_kto() -> None:
    judged = conversation([answer(0, "It costs 3.")], [word(0, "thumbs", 0, False)])
    result = pairs_of(judged, NOBODY_HELD_OUT, SERVED)
    (row,) = exported_rows(result, "kto")
    assert row["prompt"] == judged.messages
    assert row["completion"] == [{"role": "assistant", "content": "It costs 3."}]
    assert (row["label"], row["weight"], row["signal"]) == (False, 1.0, "thumbs")
    assert list(exported_rows(result, "trl")) == []


def test_pairs_are_rows_of_their_format_and_not_for_kto() -> None:
    judged = conversation([answer(0, "better"), answer(1, "worse")], [prefer(0, 0, 1)])
    result = pairs_of(judged, NOBODY_HELD_OUT, SERVED)
    (row,) = exported_rows(result, "trl")
    assert row["chosen"] == [{"role": "assistant", "content": "better"}]
    assert list(exported_rows(result, "kto")) == []
