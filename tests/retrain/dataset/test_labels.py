"""Answers that were judged by themselves become labels."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.config import MetricConfig
from feedback.reading.judgements import Judgement
from retrain.config import PairsConfig
from retrain.dataset.filters import Filter
from retrain.dataset.held_out import held_out
from retrain.dataset.pairs import PairsResult, pairs_of
from tests.retrain.dataset.test_pairs import (
    ANSWERS,
    NOBODY_HELD_OUT,
    SERVED,
    THREE,
    answer,
    conversation,
    judgements,
    prefer,
    rank,
    resolve,
    word,
)

pytestmark = pytest.mark.pure


def good(result: PairsResult) -> dict[str, bool]:
    return {label.side.text: label.good for label in result.labels}


def tied(number: int, one: int, other: int, kind: str = "tie") -> Judgement:
    return replace(prefer(number, one, other), value={kind: f"a{other}", "choice": 0})


@pytest.mark.parametrize("up", [True, False])
def test_a_lone_thumb_is_a_label_of_sampled_ids(up: bool) -> None:
    result = resolve(THREE, word(0, "thumbs", 2, up))
    (label,) = result.labels
    row = label.row()
    assert (row.interaction_id, row.choice, row.label, row.weight) == ("a2", 0, up, 1.0)
    assert (row.prompt_token_ids, row.completion.token_ids) == ([1, 2], [3, 7])
    assert (row.signal, row.truncated) == ("thumbs", False)
    assert (result.pairs, result.filtered, result.judgements) == ([], {}, {"labels": 1})


@pytest.mark.parametrize(("rating", "expected"), [(5, True), (4, True), (2, False), (1, False)])
def test_a_lone_rating_is_a_label(rating: int, expected: bool) -> None:
    assert good(resolve(THREE, word(0, "rating", 0, rating))) == {"best": expected}


def test_a_rating_in_the_middle_says_neither() -> None:
    result = resolve(THREE, word(0, "rating", 0, 3))
    assert (result.labels, result.filtered) == ([], {Filter.NEUTRAL: 1})


def test_the_settings_say_which_ratings_are_good() -> None:
    config = PairsConfig(held_out_share=0, good_rating=5, bad_rating=3)
    ratings = [word(0, "rating", 0, 4), word(1, "rating", 1, 3, rater="bob")]
    result = resolve(THREE, *ratings, config=config)
    assert good(result) == {"middling": False}


def test_the_good_ratings_are_above_the_bad_ones() -> None:
    with pytest.raises(ValueError, match="bad_rating must be below good_rating"):
        PairsConfig(good_rating=3, bad_rating=3)


def test_both_bad_is_two_thumbs_down_and_no_pair() -> None:
    result = resolve(THREE, tied(0, 0, 2, "both_bad"))
    assert (result.pairs, good(result)) == ([], {"best": False, "bad": False})
    assert result.judgements == {"labels": 1}


def test_both_bad_pairs_with_a_thumb_up_for_another_answer() -> None:
    result = resolve(THREE, tied(0, 1, 2, "both_bad"), word(1, "thumbs", 0, True))
    (pair,) = result.pairs
    assert pair.chosen.text == "best"
    assert good(result) == {({"middling", "bad"} - {pair.rejected.text}).pop(): False}
    assert result.judgements == {"pairs": 2}


def test_a_tie_is_no_pair_and_no_label() -> None:
    result = resolve(THREE, tied(0, 0, 2))
    assert (result.pairs, result.labels) == ([], [])
    assert result.filtered == result.judgements == {Filter.EQUAL: 1}


def test_a_later_tie_replaces_the_same_raters_preference() -> None:
    result = resolve(THREE, prefer(0, 2, 0), tied(1, 0, 2))
    assert (result.pairs, result.judgements) == ([], {Filter.SUPERSEDED: 1, Filter.EQUAL: 1})


def test_equal_places_of_a_ranking_make_no_pair_with_each_other() -> None:
    ranking = rank(0, 0, 1, 2)
    best, *equals = ranking.value
    result = resolve(THREE, replace(ranking, value=[best, equals]))
    found = {(pair.chosen.text, pair.rejected.text) for pair in result.pairs}
    assert found == {("best", "middling"), ("best", "bad")}
    assert (result.filtered, result.judgements) == ({Filter.EQUAL: 1}, {"pairs": 1})


def test_an_answer_in_a_pair_is_no_label_too() -> None:
    result = resolve(THREE, prefer(0, 0, 2), word(1, "thumbs", 0, True, rater="bob"))
    assert (len(result.pairs), result.labels) == (1, [])
    assert result.filtered == {Filter.IN_A_PAIR: 1}
    assert result.judgements == {"pairs": 1, Filter.IN_A_PAIR: 1}


def test_several_raters_of_one_text_are_netted() -> None:
    answers = [answer(0, "same"), answer(1, "same")]
    votes = [
        word(0, "thumbs", 0, True),
        word(1, "thumbs", 1, False, rater="bob"),
        word(2, "rating", 0, 1, rater="cid"),
    ]
    assert good(resolve(answers, *votes)) == {"same": False}
    result = resolve(answers, *votes[:2])
    assert (result.labels, result.filtered) == ([], {Filter.TIE: 1})


def test_one_rater_has_one_vote_by_however_many_metrics() -> None:
    votes = [
        word(0, "thumbs", 0, True),
        word(1, "rating", 0, 5),
        word(2, "thumbs", 0, False, rater="bob"),
    ]
    assert resolve(THREE, *votes).filtered == {Filter.TIE: 1}


def test_a_cut_off_answer_is_never_called_good() -> None:
    cut_off = [answer(0, "cut o", finish_reason="length")]
    up = resolve(cut_off, word(0, "thumbs", 0, True))
    assert (up.labels, up.filtered) == ([], {Filter.TRUNCATED: 1})
    (label,) = resolve(cut_off, word(0, "thumbs", 0, False)).labels
    assert (label.good, label.row().truncated) == (False, True)


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        ({"status": "aborted"}, Filter.INCOMPLETE),
        ({"base_fingerprint": "0" * 64}, Filter.FOREIGN),
        ({"text": " "}, Filter.EMPTY),
        ({"texts_removed": True}, Filter.TEXTS_REMOVED),
    ],
)
def test_an_answer_that_cannot_be_trained_on_makes_no_label(
    flaw: dict[str, Any], reason: Filter
) -> None:
    result = resolve([replace(answer(0, "best"), **flaw)], word(0, "thumbs", 0, True))
    assert (result.labels, result.filtered, result.judgements) == ([], {reason: 1}, {reason: 1})


METRICS = {
    "solved": MetricConfig(type="boolean", trains=0.5),
    "minutes": MetricConfig(type="number", direction="lower", trains=0.25, good=5, bad=30),
}


def trained(*words: Judgement) -> PairsResult:
    judged = conversation(THREE, list(words))
    return pairs_of(judged, NOBODY_HELD_OUT, SERVED, METRICS)


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("solved", True, (True, 0.5)),
        ("solved", False, (False, 0.5)),
        ("minutes", 3, (True, 0.25)),
        ("minutes", 60.0, (False, 0.25)),
    ],
)
def test_a_metric_that_trains_is_a_label_of_its_weight(
    metric: str, value: float, expected: tuple[bool, float]
) -> None:
    (label,) = trained(word(0, metric, 0, value)).labels
    assert (label.good, label.weight) == expected
    assert label.signal == "metric"


def test_a_metric_between_its_thresholds_says_neither() -> None:
    result = trained(word(0, "minutes", 0, 10))
    assert (result.labels, result.judgements) == ([], {Filter.NEUTRAL: 1})


def test_a_metric_makes_a_pair_of_its_weight_with_a_thumb() -> None:
    result = trained(word(0, "thumbs", 0, True), word(1, "solved", 2, False, rater="bob"))
    (pair,) = result.pairs
    assert (pair.chosen.text, pair.rejected.text) == ("best", "bad")
    assert (pair.weight, pair.signal) == (0.5, "metric")


def test_a_thumb_outweighs_a_metric_by_another_rater() -> None:
    result = trained(word(0, "thumbs", 0, False), word(1, "solved", 0, True, rater="bob"))
    (label,) = result.labels
    assert (label.good, label.weight, label.signal) == (False, 0.5, "thumbs")


# ---- properties


@st.composite
def all_kinds(draw: st.DrawFn) -> list[Judgement]:
    """Judgements of all kinds, with ties, both bad and groups of equals."""
    return [_varied(draw, judgement) for judgement in draw(judgements())]


def _varied(draw: st.DrawFn, judgement: Judgement) -> Judgement:
    if judgement.metric_name == "preference":
        kind = draw(st.sampled_from(["over", "tie", "both_bad"]))
        return replace(judgement, value={kind: judgement.value["over"], "choice": 0})
    if judgement.metric_name == "ranking" and draw(st.booleans()):
        *before, one, other = judgement.value
        return replace(judgement, value=[*before, [one, other]])
    return judgement


FLAWED = [
    *ANSWERS[:3],
    replace(ANSWERS[3], finish_reason="length"),
    replace(ANSWERS[4], status="aborted"),
]


@given(all_kinds(), st.sampled_from([0.0, 0.4]))
def test_each_judgement_is_counted_exactly_once(words: list[Judgement], share: float) -> None:
    config = PairsConfig(held_out_share=share)
    result = resolve(FLAWED, *words, config=config)
    assert result.judgements.total() == len(words)
    left_out = set(result.judgements) - {"pairs", "labels"}
    assert left_out <= set(result.filtered)
    assert bool(result.pairs) == bool(result.judgements["pairs"])


@given(all_kinds(), st.randoms(use_true_random=False))
def test_the_order_of_reading_makes_no_difference_to_labels(
    words: list[Judgement], shuffler: random.Random
) -> None:
    shuffled_words, shuffled_answers = words[:], FLAWED[:]
    shuffler.shuffle(shuffled_words)
    shuffler.shuffle(shuffled_answers)
    assert resolve(FLAWED, *words) == resolve(shuffled_answers, *shuffled_words)


@given(all_kinds())
def test_no_text_is_in_a_pair_and_a_label_or_in_two_labels(words: list[Judgement]) -> None:
    result = resolve(FLAWED, *words)
    paired = {side.content for pair in result.pairs for side in (pair.chosen, pair.rejected)}
    labelled = Counter(label.side.content for label in result.labels)
    assert not paired & labelled.keys()
    assert all(count == 1 for count in labelled.values())
    assert all(0 < label.weight <= 1 for label in result.labels)
    assert not any(label.good and label.side.truncated for label in result.labels)


@given(all_kinds(), st.floats(0, 0.9))
def test_held_out_users_label_neither_by_asking_nor_by_rating(
    words: list[Judgement], share: float
) -> None:
    config = PairsConfig(held_out_share=share)
    askers = {found.interaction_id: found.requester for found in FLAWED}
    heard = [word_ for word_ in words if not held_out("shop", word_.rater, share)]
    result = resolve(FLAWED, *words, config=config)
    assert result.labels == resolve(FLAWED, *heard, config=config).labels
    assert not any(held_out("shop", askers[one.side.key[0]], share) for one in result.labels)
