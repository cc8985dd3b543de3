"""Judgements become pairs."""

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import isclose
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.reading.judgements import JudgedConversation, Judgement, LoggedAnswer
from retrain.config import PairsConfig
from retrain.dataset.filters import Filter
from retrain.dataset.held_out import held_out
from retrain.dataset.pairs import Pair, PairsResult, pairs_of
from retrain.trainer.examples.rows import ServedTurn

pytestmark = pytest.mark.pure

START = datetime(2026, 11, 21, tzinfo=UTC)
NOBODY_HELD_OUT = PairsConfig(held_out_share=0)
SERVED = "f" * 64
MESSAGES = [{"role": "user", "content": "hours?"}]


def answer(number: int, text: str, **more: Any) -> LoggedAnswer:
    values: dict[str, Any] = {
        "interaction_id": f"a{number}",
        "choice": 0,
        "text": text,
        "prompt_token_ids": (1, 2),
        "token_ids": (number + 1, 7),
        "finish_reason": "stop",
        "status": "complete",
        "version": "base",
        "base_fingerprint": SERVED,
        "requester": "requester",
        "received_at": START,
    }
    return LoggedAnswer(**{**values, **more})


def word(number: int, metric: str, about: int, value: Any, rater: str = "ann") -> Judgement:
    return Judgement(
        id=f"f{number:03}",
        received_at=START + timedelta(seconds=number),
        interaction_id=f"a{about}",
        choice=0,
        metric_name=metric,
        value=value,
        rater=rater,
        anonymous=False,
        source="HUMAN",
    )


def prefer(number: int, better: int, worse: int, rater: str = "ann") -> Judgement:
    return word(number, "preference", better, {"over": f"a{worse}", "choice": 0}, rater)


def rank(number: int, *order: int, rater: str = "ann") -> Judgement:
    places = [{"id": f"a{place}", "choice": 0} for place in order]
    return word(number, "ranking", order[0], places, rater)


def conversation(
    answers: list[LoggedAnswer], words: list[Judgement], left_out: dict[str, int] | None = None
) -> JudgedConversation:
    return JudgedConversation(
        tenant="shop",
        conversation="c",
        messages=MESSAGES,
        tools=None,
        answers=tuple(answers),
        judgements=tuple(words),
        left_out=left_out or {},
    )


def resolve(
    answers: list[LoggedAnswer], *words: Judgement, config: PairsConfig = NOBODY_HELD_OUT
) -> PairsResult:
    return pairs_of(conversation(answers, list(words)), config, SERVED)


def texts(result: PairsResult) -> set[tuple[str, str]]:
    return {(pair.chosen.text, pair.rejected.text) for pair in result.pairs}


THREE = [answer(0, "best"), answer(1, "middling"), answer(2, "bad")]


def test_a_preference_is_a_pair_of_sampled_ids() -> None:
    result = resolve(THREE, prefer(0, 0, 2))
    (pair,) = result.pairs
    row = pair.row()
    assert row.prompt_token_ids == [1, 2]
    assert (row.chosen.token_ids, row.rejected.token_ids) == ([1, 7], [3, 7])
    assert (row.signal, row.weight, row.messages) == ("preference", 1.0, None)
    assert not result.filtered


def test_a_ranking_is_all_its_ordered_pairs_and_weighs_one() -> None:
    result = resolve(THREE, rank(0, 0, 1, 2))
    assert texts(result) == {("best", "middling"), ("best", "bad"), ("middling", "bad")}
    assert isclose(sum(pair.weight for pair in result.pairs), 1.0)


@pytest.mark.parametrize("outcome", ["tie", "both_bad"])
def test_two_equally_good_answers_make_no_pair(outcome: str) -> None:
    result = resolve(THREE, word(0, "preference", 0, {outcome: "a2", "choice": 0}))
    assert result.pairs == []


@pytest.mark.parametrize("about", [0, 2])
def test_a_tie_replaces_the_raters_earlier_preference_of_the_two(about: int) -> None:
    tie = word(1, "preference", about, {"tie": f"a{2 - about}", "choice": 0})
    result = resolve(THREE, prefer(0, 0, 2), tie)
    assert (result.pairs, result.filtered[Filter.SUPERSEDED]) == ([], 1)


def test_a_group_of_a_ranking_is_better_than_what_follows_it() -> None:
    group = [{"id": f"a{place}", "choice": 0} for place in (0, 1)]
    result = resolve(THREE, word(0, "ranking", 0, [group, {"id": "a2", "choice": 0}]))
    assert texts(result) == {("best", "bad"), ("middling", "bad")}
    assert isclose(sum(pair.weight for pair in result.pairs), 1.0)


def test_a_demonstration_beats_the_original_and_brings_the_conversation_along() -> None:
    result = resolve(THREE, word(0, "demonstration", 2, "we open at nine"))
    (pair,) = result.pairs
    row = pair.row()
    assert row.chosen.text == "we open at nine"
    assert row.rejected.token_ids == [3, 7]
    assert row.turn == ServedTurn()


def test_what_lost_its_text_for_its_age_is_left_out_and_counted() -> None:
    gone = answer(2, "", token_ids=None, prompt_token_ids=None, texts_removed=True)
    result = resolve([*THREE[:2], gone], prefer(0, 0, 2), word(1, "demonstration", 0, None))
    assert (result.pairs, result.filtered) == ([], {Filter.TEXTS_REMOVED: 2})


def test_a_pair_knows_how_old_its_conversation_is() -> None:
    older = answer(2, "bad", received_at=START - timedelta(days=3))
    (pair,) = resolve([*THREE[:2], older], prefer(0, 0, 1)).pairs
    assert pair.since == START - timedelta(days=3)


def test_an_empty_demonstration_is_dropped() -> None:
    result = resolve(THREE, word(0, "demonstration", 2, "  "))
    assert (result.pairs, result.filtered) == ([], {Filter.EMPTY: 1})


def test_a_thumb_up_beats_a_thumb_down_of_another_rater() -> None:
    up, down = word(0, "thumbs", 0, True), word(1, "thumbs", 2, False, rater="bob")
    assert texts(resolve(THREE, up, down)) == {("best", "bad")}


def test_thumbs_of_one_text_are_netted_over_raters() -> None:
    votes = [
        word(0, "thumbs", 0, True),
        word(1, "thumbs", 0, False, rater="bob"),
        word(2, "thumbs", 2, False),
    ]
    result = resolve(THREE, *votes)
    assert (result.pairs, result.filtered) == ([], {Filter.TIE: 1})
    assert [(label.side.text, label.good) for label in result.labels] == [("bad", False)]


def test_a_rater_has_one_vote_on_a_text_however_often_it_was_answered() -> None:
    answers = [answer(0, "same"), answer(1, "same"), answer(2, "other")]
    votes = [
        word(0, "thumbs", 0, False),
        word(1, "thumbs", 1, False),
        word(2, "thumbs", 2, True),
        word(3, "thumbs", 0, True, rater="bob"),
    ]
    result = resolve(answers, *votes)
    assert result.pairs == []
    assert result.filtered[Filter.TIE] == 1
    assert result.filtered[Filter.SUPERSEDED] == 1


def test_thumbs_bring_no_more_pairs_than_the_settings_allow() -> None:
    answers = [answer(number, f"text {number}") for number in range(8)]
    votes = [word(number, "thumbs", number, number < 4) for number in range(8)]
    result = resolve(answers, *votes)
    assert len(result.pairs) == NOBODY_HELD_OUT.thumb_pairs_per_conversation
    assert (len(result.labels), result.filtered) == (4, {})


def test_ratings_far_apart_by_one_rater_are_a_pair() -> None:
    result = resolve(THREE, word(0, "rating", 0, 5), word(1, "rating", 2, 2))
    assert texts(result) == {("best", "bad")}


def test_ratings_near_each_other_or_of_different_raters_are_none() -> None:
    near = resolve(THREE, word(0, "rating", 0, 5), word(1, "rating", 2, 4))
    others = resolve(THREE, word(0, "rating", 0, 5), word(1, "rating", 2, 1, rater="bob"))
    assert near.pairs == others.pairs == []
    assert [label.good for label in near.labels] == [True, True]
    assert sorted(label.good for label in others.labels) == [False, True]


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        ({"status": "aborted"}, Filter.INCOMPLETE),
        ({"status": "failed"}, Filter.INCOMPLETE),
        ({"base_fingerprint": None}, Filter.FOREIGN),
        ({"base_fingerprint": "0" * 64}, Filter.FOREIGN),
        ({"token_ids": None}, Filter.FOREIGN),
        ({"prompt_token_ids": None}, Filter.FOREIGN),
        ({"text": " \n"}, Filter.EMPTY),
        ({"prompt_token_ids": (9,)}, Filter.DIFFERENT_PROMPT),
    ],
)
def test_an_answer_that_cannot_be_trained_on_makes_no_pair(
    flaw: dict[str, Any], reason: Filter
) -> None:
    answers = [replace(answer(0, "best"), **flaw), answer(1, "bad")]
    for word_ in (prefer(0, 0, 1), prefer(0, 1, 0)):
        result = resolve(answers, word_)
        assert (result.pairs, result.filtered) == ([], {reason: 1})


def test_an_answer_that_was_cut_off_may_only_be_the_worse_one() -> None:
    answers = [answer(0, "cut o", finish_reason="length"), answer(1, "whole")]
    assert resolve(answers, prefer(0, 0, 1)).filtered == {Filter.TRUNCATED: 1}
    assert texts(resolve(answers, prefer(0, 1, 0))) == {("whole", "cut o")}


def test_an_answer_that_is_not_in_the_log_is_counted() -> None:
    result = resolve(THREE, prefer(0, 0, 9))
    assert (result.pairs, result.filtered) == ([], {Filter.MISSING: 1})


def test_a_source_that_the_settings_leave_out_is_not_heard() -> None:
    config = PairsConfig(held_out_share=0, sources=frozenset({"HUMAN"}))
    judged = replace(prefer(0, 0, 1), source="LLM_JUDGE")
    assert resolve(THREE, judged, config=config).filtered == {Filter.SOURCE: 1}


def test_the_same_text_twice_is_no_pair() -> None:
    answers = [answer(0, "same"), answer(1, "same")]
    assert resolve(answers, prefer(0, 0, 1)).filtered == {Filter.IDENTICAL: 1}


def test_agreement_is_one_pair_of_at_most_weight_one() -> None:
    result = resolve(THREE, prefer(0, 0, 1), prefer(1, 0, 1, rater="bob"))
    assert [pair.weight for pair in result.pairs] == [1.0]
    assert result.filtered == {Filter.DUPLICATE: 1}


def test_the_majority_wins_by_its_margin() -> None:
    words = [
        rank(0, 0, 1, 2),
        rank(1, 0, 1, 2, rater="bob"),
        rank(2, 1, 0, 2, rater="cid"),
    ]
    result = resolve(THREE, *words)
    weight = {(p.chosen.text, p.rejected.text): p.weight for p in result.pairs}
    assert isclose(weight["best", "middling"], 1 / 3)
    assert result.filtered[Filter.CONTRADICTION] == 1


def test_a_raters_later_preference_replaces_the_opposite_one() -> None:
    result = resolve(THREE, prefer(0, 0, 1), prefer(1, 1, 0))
    assert texts(result) == {("middling", "best")}
    assert result.filtered == {Filter.SUPERSEDED: 1}


def test_a_raters_later_ranking_replaces_one_of_the_same_answers_wherever_it_was_said() -> None:
    result = resolve(THREE, rank(0, 0, 1, 2), rank(1, 2, 1, 0))
    assert texts(result) == {("bad", "middling"), ("bad", "best"), ("middling", "best")}
    assert result.filtered == {Filter.SUPERSEDED: 1}


def test_rankings_of_other_answers_are_other_words() -> None:
    result = resolve(THREE, rank(0, 0, 1), rank(1, 2, 1))
    assert texts(result) == {("best", "middling"), ("bad", "middling")}


def test_a_programs_word_does_not_replace_a_persons() -> None:
    person, program = prefer(0, 0, 1), replace(prefer(1, 1, 0), source="LLM_JUDGE")
    config = PairsConfig(held_out_share=0, sources=frozenset({"HUMAN"}))
    assert texts(resolve(THREE, person, program, config=config)) == {("best", "middling")}
    assert resolve(THREE, person, program).filtered == {Filter.CONTRADICTION: 2}


def test_what_the_log_left_out_is_counted_along() -> None:
    found = pairs_of(conversation(THREE, [], {"over_quota": 3}), NOBODY_HELD_OUT, SERVED)
    assert found.filtered == {Filter.OVER_QUOTA: 3}


def test_a_merged_pair_keeps_the_sampled_ids_of_a_demonstrated_text() -> None:
    result = resolve(THREE, word(0, "demonstration", 2, "best"), prefer(1, 0, 2, rater="bob"))
    (pair,) = result.pairs
    assert pair.chosen.token_ids == (1, 7)
    assert pair.signal == "preference"


# ---- properties

ANSWERS = [answer(number, "abcab"[number] * 3, requester=f"u{number}") for number in range(5)]
RATERS = st.sampled_from(["u0", "u1", "u2", "u3", "u4", "ann", "bob"])


@st.composite
def judgements(draw: st.DrawFn) -> list[Judgement]:
    """Words of all kinds by several raters, many at the same time."""
    words = []
    for number in range(draw(st.integers(0, 12))):
        rater = draw(RATERS)
        order = draw(st.permutations(range(5)))
        kind = draw(st.sampled_from(["preference", "ranking", "thumbs", "rating", "demonstration"]))
        made = {
            "preference": prefer(number, order[0], order[1], rater),
            "ranking": rank(number, *order[: draw(st.integers(2, 5))], rater=rater),
            "thumbs": word(number, "thumbs", order[0], draw(st.booleans()), rater),
            "rating": word(number, "rating", order[0], draw(st.integers(1, 5)), rater),
            "demonstration": word(
                number, "demonstration", order[0], "abc"[order[1] % 3] * 3, rater
            ),
        }[kind]
        words.append(replace(made, received_at=START + timedelta(seconds=draw(st.integers(0, 3)))))
    return words


@given(judgements(), st.randoms(use_true_random=False))
def test_the_order_in_which_judgements_are_read_makes_no_difference(
    words: list[Judgement], shuffler: random.Random
) -> None:
    shuffled_words, shuffled_answers = words[:], ANSWERS[:]
    shuffler.shuffle(shuffled_words)
    shuffler.shuffle(shuffled_answers)
    assert resolve(ANSWERS, *words) == resolve(shuffled_answers, *shuffled_words)


@given(judgements())
def test_no_pair_is_its_own_opposite_or_comes_twice(words: list[Judgement]) -> None:
    pairs = resolve(ANSWERS, *words).pairs
    assert all(pair.chosen.text != pair.rejected.text for pair in pairs)
    unordered = Counter(frozenset((pair.chosen.text, pair.rejected.text)) for pair in pairs)
    assert all(count == 1 for count in unordered.values())
    assert all(0 < pair.weight <= 1 for pair in pairs)
    assert len({pair.id for pair in pairs}) == len(pairs)


@given(judgements(), st.floats(0, 0.9))
def test_held_out_users_train_neither_by_asking_nor_by_rating(
    words: list[Judgement], share: float
) -> None:
    config = PairsConfig(held_out_share=share)
    askers = {found.interaction_id: found.requester for found in ANSWERS}
    heard = [word_ for word_ in words if not held_out("shop", word_.rater, share)]
    result = resolve(ANSWERS, *words, config=config)
    assert result.pairs == resolve(ANSWERS, *heard, config=config).pairs
    for pair in result.pairs:
        for side in (pair.chosen, pair.rejected):
            assert not held_out("shop", askers[side.key[0]], share)


@given(st.permutations(range(5)), st.integers(2, 5))
def test_one_ranking_weighs_one(order: list[int], length: int) -> None:
    distinct = [answer(number, f"text {number}") for number in range(5)]
    pairs = resolve(distinct, rank(0, *order[:length])).pairs
    assert len(pairs) == length * (length - 1) // 2
    assert isclose(sum(pair.weight for pair in pairs), 1.0)


@given(st.lists(st.booleans(), max_size=9))
def test_opposite_preferences_cancel_out_symmetrically(firsts: list[bool]) -> None:
    def of(votes: list[bool]) -> list[Pair]:
        words = [
            prefer(number, *((0, 1) if first else (1, 0)), rater=f"rater{number}")
            for number, first in enumerate(votes)
        ]
        return resolve(THREE, *words).pairs

    pairs, mirrored = of(firsts), of([not first for first in firsts])
    margin = 2 * sum(firsts) - len(firsts)
    assert len(pairs) == len(mirrored) == (margin != 0)
    for pair, opposite in zip(pairs, mirrored, strict=True):
        assert pair.chosen.text == opposite.rejected.text == ("best" if margin > 0 else "middling")
        assert pair.weight == opposite.weight


@given(st.text(), st.text(), st.floats(0, 1), st.floats(0, 1))
def test_who_is_held_out_at_a_share_is_held_out_at_every_larger_one(
    tenant: str, user: str, share: float, other: float
) -> None:
    small, large = sorted((share, other))
    assert held_out(tenant, user, large) or not held_out(tenant, user, small)


def test_about_the_share_of_users_is_held_out() -> None:
    held = sum(held_out("shop", f"user {number}", 0.1) for number in range(10_000))
    assert 900 < held < 1_100


def called(number: int, arguments: str, text: str = "") -> LoggedAnswer:
    function = {"name": "price", "arguments": arguments}
    message = {"role": "assistant", "content": None, "tool_calls": [{"function": function}]}
    return answer(number, text, message=message)


def test_answers_that_only_call_tools_are_told_apart_by_their_calls() -> None:
    answers = [called(0, '{"of": "rose"}'), called(1, '{"of": "lily"}')]
    result = pairs_of(conversation(answers, [prefer(0, 0, 1)]), NOBODY_HELD_OUT, SERVED)
    (pair,) = result.pairs
    assert (pair.chosen.key, pair.rejected.key) == (("a0", 0), ("a1", 0))
    assert result.filtered == {}


def test_calls_that_are_equal_as_json_are_one_answer() -> None:
    answers = [called(0, '{"of": "rose"}', "x"), called(1, '{"of":"rose"}', "y")]
    result = pairs_of(conversation(answers, [prefer(0, 0, 1)]), NOBODY_HELD_OUT, SERVED)
    assert (result.pairs, result.filtered) == ([], {Filter.IDENTICAL: 1})


def test_a_demonstration_takes_along_how_its_original_was_served() -> None:
    shown = answer(
        0, "hm</think>3", message={"role": "assistant", "content": "3", "reasoning": "hm"}
    )
    request = {
        "messages": MESSAGES,
        "chat_template_kwargs": {"enable_thinking": False},
        "reasoning_effort": "low",
    }
    asked = replace(
        conversation([shown], [word(0, "demonstration", 0, "4")]), requests={"a0": request}
    )
    (pair,) = pairs_of(asked, NOBODY_HELD_OUT, SERVED).pairs
    row = pair.row()
    assert row.turn is not None
    assert row.turn.arguments == {"enable_thinking": False, "reasoning_effort": "low"}
    assert (row.turn.content, row.turn.called, row.messages) == ("3", False, None)


def test_a_demonstration_of_what_was_seen_already_is_identical() -> None:
    shown = answer(0, "hm</think>3", message={"role": "assistant", "content": "3"})
    asked = conversation([shown], [word(0, "demonstration", 0, "3")])
    assert pairs_of(asked, NOBODY_HELD_OUT, SERVED).filtered == {Filter.IDENTICAL: 1}
