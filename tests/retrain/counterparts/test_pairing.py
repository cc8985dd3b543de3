"""Pairs of rated and new answers, or why there is none."""

from typing import Any

import pytest

from feedback.answer_parts import ToolCall
from retrain.config import CounterpartsConfig, SelfPlayConfig
from retrain.counterparts.pairing import comparable, counterpart_pair, self_play_pair
from retrain.counterparts.rows import AnsweredQuestion, JudgedQuestion, ShownAnswer
from retrain.trainer.examples.rows import CompletionRow, PairRow, ServedTurn
from tests.retrain.counterparts.test_questions import label, pair

pytestmark = pytest.mark.pure

CONFIG = CounterpartsConfig(weight=0.5)
SELF_PLAY = SelfPlayConfig(share=0.5, weight=0.5)
ROOM = 100


def shown(text: str, **more: Any) -> ShownAnswer:
    values: dict[str, Any] = {
        "interaction_id": f"new-{text}",
        "prompt_token_ids": [1],
        "token_ids": [10 + ord(mark) for mark in text],
        "content": text,
        "finish_reason": "stop",
    }
    return ShownAnswer(**{**values, **more})


def answered(*texts: str, **more: Any) -> AnsweredQuestion:
    values: dict[str, Any] = {
        "id": "counterpart-label-1",
        "rated": shown("rated"),
        "answers": [shown(text) for text in texts],
    }
    return AnsweredQuestion(**{**values, **more})


def judged(*preferences: float | None) -> JudgedQuestion:
    return JudgedQuestion(id="counterpart-label-1", judge="judge", preferences=list(preferences))


def test_each_different_answer_is_compared_once() -> None:
    found = comparable(answered("a", "rated", "b", "a"), label(1))
    assert found == [shown("a"), shown("b")]


def test_the_rated_answer_again_is_identical() -> None:
    assert comparable(answered("rated", "rated"), label(1)) == "identical"


def test_another_call_of_a_tool_is_another_answer() -> None:
    called = shown("rated", calls=[ToolCall("price", "{}")])
    assert comparable(answered(answers=[called]), label(1)) == [called]


def test_an_answer_to_other_token_ids_is_not_compared() -> None:
    other = shown("a", prompt_token_ids=[1, 2])
    assert comparable(answered(answers=[other]), label(1)) == "different_prompt"
    assert comparable(answered(answers=[other, shown("b")]), label(1)) == [shown("b")]


@pytest.mark.parametrize("lost", [{"answers": []}, {"rated": None}])
def test_what_did_not_come_or_is_gone_has_failed(lost: dict[str, Any]) -> None:
    assert comparable(answered("a", **lost), label(1)) == "failed"


def test_a_pair_under_a_thumb_up_says_that_a_person_vouched_for_the_chosen_side() -> None:
    rated = label(1, weight=0.8)
    found = counterpart_pair(rated, [shown("a"), shown("b")], judged(0.5, 0.0), CONFIG, ROOM)
    assert found == PairRow(
        id="counterpart-label-1",
        prompt_token_ids=[1],
        chosen=rated.completion,
        rejected=CompletionRow(token_ids=shown("b").token_ids),
        weight=0.4,
        signal="thumbs",
        origin="counterpart",
        vouched="chosen",
        judge="judge",
        margin=1.0,
        interaction_id="chatcmpl-1",
    )


def test_a_pair_under_a_thumb_down_says_that_a_person_vouched_for_the_rejected_side() -> None:
    rated = label(1, label=False)
    found = counterpart_pair(rated, [shown("a"), shown("b")], judged(0.75, 0.0), CONFIG, ROOM)
    assert isinstance(found, PairRow)
    assert (found.chosen.token_ids, found.rejected) == (shown("a").token_ids, rated.completion)
    assert (found.vouched, found.margin) == ("rejected", 0.5)


def test_a_pair_that_does_not_fit_is_too_long() -> None:
    assert counterpart_pair(label(1), [shown("a" * 9)], judged(0.0), CONFIG, 9) == "too_long"


def test_self_play_takes_the_new_answer_as_the_worse_side() -> None:
    found = self_play_pair(pair(1), answered("a"), SELF_PLAY, ROOM)
    assert isinstance(found, PairRow)
    assert (found.chosen, found.rejected.token_ids) == (pair(1).chosen, shown("a").token_ids)
    assert (found.origin, found.vouched, found.judge, found.weight) == (
        "self_play",
        "chosen",
        None,
        0.5,
    )


def test_a_demonstration_stands_in_the_turn_of_the_new_answer() -> None:
    turn = ServedTurn(content="a", called=True)
    shown_by = pair(1).model_copy(update={"chosen": CompletionRow(text="so"), "turn": ServedTurn()})
    new = answered(answers=[shown("a", turn=turn)])
    found = self_play_pair(shown_by, new, SELF_PLAY, ROOM)
    assert isinstance(found, PairRow)
    assert found.turn == turn


def test_a_version_that_answers_as_it_was_shown_has_nothing_to_learn() -> None:
    shown_by = pair(1).model_copy(update={"chosen": CompletionRow(text="so")})
    assert self_play_pair(shown_by, answered("so"), SELF_PLAY, ROOM) == "identical"
    same = answered(answers=[shown("x", token_ids=[2])])
    assert self_play_pair(pair(1), same, SELF_PLAY, ROOM) == "identical"


def test_self_play_to_another_prompt_is_left_out() -> None:
    other = answered(answers=[shown("a", prompt_token_ids=[9])])
    assert self_play_pair(pair(1), other, SELF_PLAY, ROOM) == "different_prompt"
