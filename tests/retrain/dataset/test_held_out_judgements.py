"""What held-out users say is kept apart, for judges, as they said it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.reading.judgements import Judgement, LoggedAnswer
from retrain.config import PairsConfig
from retrain.dataset.held_out import held_out
from retrain.dataset.held_out_judgements import HeldOutJudgement, JudgedLabel, JudgedPair
from retrain.dataset.pairs import pairs_of
from tests.retrain.dataset.test_labels import FLAWED, METRICS, all_kinds
from tests.retrain.dataset.test_pairs import (
    SERVED,
    THREE,
    answer,
    conversation,
    prefer,
    rank,
    word,
)

pytestmark = pytest.mark.pure

EVERYBODY = PairsConfig(held_out_share=0.999_999_999)


def said(*words: Judgement, answers: list[LoggedAnswer] = THREE) -> list[HeldOutJudgement]:
    judged = conversation(answers, list(words))
    return pairs_of(judged, EVERYBODY, SERVED, METRICS).held_out


@pytest.mark.parametrize(
    ("better", "worse", "winner"), [(0, 2, "a"), (2, 0, "b"), (0, 1, "a"), (1, 0, "b")]
)
def test_a_preference_is_a_row_whose_sides_are_in_a_fixed_order(
    better: int, worse: int, winner: str
) -> None:
    (row,) = said(prefer(0, better, worse))
    assert isinstance(row, JudgedPair)
    assert (row.a.interaction_id, row.b.interaction_id) == tuple(
        sorted((f"a{better}", f"a{worse}"))
    )
    assert row.winner == winner
    assert (row.prompt_token_ids, row.a.token_ids) == ([1, 2], [1, 7])
    assert (row.a.version, row.signal, row.source) == ("base", "preference", "HUMAN")


def test_a_tie_and_equal_places_are_rows_too() -> None:
    tie = replace(prefer(0, 0, 2), value={"tie": "a2", "choice": 0})
    (row,) = said(tie)
    assert isinstance(row, JudgedPair)
    assert row.winner == "tie"
    ranking = rank(0, 0, 1, 2)
    best, *equals = ranking.value
    rows = said(replace(ranking, value=[best, equals]))
    assert [row.winner for row in rows if isinstance(row, JudgedPair)] == ["a", "a", "tie"]


def test_judgements_of_one_answer_are_rows_of_each_rater() -> None:
    rows = said(
        word(0, "thumbs", 0, True),
        word(1, "rating", 0, 1, rater="bob"),
        word(2, "rating", 1, 3),
        word(3, "solved", 1, False),
        replace(prefer(4, 1, 2), value={"both_bad": "a2", "choice": 0}),
    )
    labels = [row for row in rows if isinstance(row, JudgedLabel)]
    assert len(labels) == len(rows)
    found = [(row.answer.interaction_id, row.good, row.metric, row.weight) for row in labels]
    assert found == [
        ("a0", True, "thumbs", 1.0),
        ("a0", False, "rating", 1.0),
        ("a1", False, "solved", 0.5),
        ("a1", False, "thumbs", 1.0),
        ("a2", False, "thumbs", 1.0),
    ]
    assert labels[0].subject == labels[1].subject
    assert labels[0].rater != labels[1].rater
    assert "ann" not in labels[0].model_dump_json()


def test_the_same_texts_are_one_subject_however_often_they_were_sampled() -> None:
    answers = [*THREE, answer(3, "best"), answer(4, "bad")]
    first, again = said(prefer(0, 0, 2), prefer(1, 4, 3), answers=answers)
    assert first.subject == again.subject
    assert first.rater == again.rater


def test_a_changed_mind_leaves_one_row() -> None:
    (row,) = said(prefer(0, 0, 2), prefer(1, 2, 0))
    assert isinstance(row, JudgedPair)
    assert row.winner == "b"


def test_answers_that_cannot_be_compared_make_no_row() -> None:
    other_prompt = [THREE[0], answer(1, "middling", prompt_token_ids=(9,))]
    assert said(prefer(0, 0, 1), answers=other_prompt) == []
    assert said(prefer(0, 0, 1), answers=[THREE[0], answer(1, "best")]) == []
    assert said(word(0, "thumbs", 0, True), answers=[answer(0, "x", status="failed")]) == []


@given(all_kinds(), st.floats(0, 0.9))
def test_no_judgement_is_both_trained_on_and_held_out(words: list[Judgement], share: float) -> None:
    config = PairsConfig(held_out_share=share)
    askers = {found.interaction_id: found.requester for found in FLAWED}
    result = pairs_of(conversation(FLAWED, words), config, SERVED)
    trained = {side.key[0] for pair in result.pairs for side in (pair.chosen, pair.rejected)} | {
        label.side.key[0] for label in result.labels
    }
    assert not any(held_out("shop", askers[name], share) for name in trained)
    heard = [one for one in words if not held_out("shop", one.rater, share)]
    nobodys = [one for one in FLAWED if not held_out("shop", one.requester, share)]
    assert pairs_of(conversation(nobodys, heard), config, SERVED).held_out == []
