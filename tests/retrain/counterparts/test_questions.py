"""Which questions are asked again."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.config import CounterpartsConfig, RetrainConfig, SelfPlayConfig
from retrain.counterparts.questions import (
    MostAsked,
    draw_labels,
    draw_pairs,
    most_questions,
    request_samples,
)
from retrain.trainer.examples.rows import CompletionRow, LabelRow, PairRow

pytestmark = pytest.mark.pure


def label(name: int, **more: Any) -> LabelRow:
    values: dict[str, Any] = {
        "id": f"label-{name}",
        "interaction_id": f"chatcmpl-{name}",
        "choice": 0,
        "prompt_token_ids": [1],
        "completion": CompletionRow(token_ids=[2]),
        "label": True,
        "signal": "thumbs",
    }
    return LabelRow(**{**values, **more})


def pair(name: int, interaction_id: str | None = "chatcmpl-1") -> PairRow:
    return PairRow(
        id=f"pair-{name}",
        prompt_token_ids=[1],
        chosen=CompletionRow(token_ids=[2]),
        rejected=CompletionRow(token_ids=[3]),
        signal="preference",
        interaction_id=interaction_id,
    )


@given(st.permutations(range(12)), st.integers(0, 15), st.integers(0, 3))
def test_the_draw_does_not_depend_on_the_order_of_the_labels(
    order: Sequence[int], limit: int, seed: int
) -> None:
    found = draw_labels(map(label, order), limit, seed)
    assert found == draw_labels(map(label, range(12)), limit, seed)
    assert len(found.labels) == min(limit, 12)
    assert len(found.labels) + found.left_out.total() == 12


def test_a_larger_limit_adds_questions_and_keeps_the_others() -> None:
    few, many = (draw_labels(map(label, range(20)), limit, 0).labels for limit in (5, 10))
    assert list(many[:5]) == list(few)


def test_a_liked_answer_that_was_cut_off_is_not_asked_again() -> None:
    labels = [label(1, truncated=True), label(2, truncated=True, label=False)]
    found = draw_labels(labels, 10, 0)
    assert [one.id for one in found.labels] == ["label-2"]
    assert found.left_out == {"truncated": 1}


@pytest.mark.parametrize(("share", "drawn"), [(0.0, 0), (0.1, 10), (0.5, 90), (0.75, 90)])
def test_self_play_is_at_most_its_share_of_all_pairs(share: float, drawn: int) -> None:
    assert len(draw_pairs(map(pair, range(90)), share, 1_000, 0)) == drawn


def test_self_play_needs_a_recorded_request() -> None:
    assert draw_pairs([pair(1, None), pair(2)], 0.5, 10, 0) == [pair(2)]


@pytest.mark.parametrize(
    ("request_", "samples"),
    [({}, 4), ({"temperature": None}, 4), ({"temperature": 0.7}, 4), ({"temperature": 0}, 1)],
)
def test_a_question_whose_answers_would_be_equal_is_asked_once(
    request_: dict[str, Any], samples: int
) -> None:
    assert request_samples(request_, 4) == samples


@pytest.mark.parametrize(
    ("labels", "pairs", "judged", "most"),
    [
        (30, 0, True, MostAsked(30, 120)),
        (300, 0, True, MostAsked(100, 400)),
        (30, 0, False, MostAsked(0, 0)),
        (30, 40, True, MostAsked(40, 130)),
        (0, 40, False, MostAsked(10, 10)),
    ],
)
def test_what_would_be_asked_is_bounded_by_the_settings(
    labels: int, pairs: int, judged: bool, most: MostAsked
) -> None:
    config = RetrainConfig(
        counterparts=CounterpartsConfig(questions=100), self_play=SelfPlayConfig(share=0.2)
    )
    assert most_questions(labels, pairs, config, judged=judged) == most
