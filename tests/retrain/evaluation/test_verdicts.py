"""Preferences of any judge: one that compares both ways round, or one that scores in batches."""

from collections.abc import Sequence
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.answer_parts import AnswerParts
from retrain.evaluation.answers import JudgedAnswer, Question
from retrain.evaluation.judges import CallableJudge, JudgeError
from retrain.evaluation.verdicts import (
    AnswerPair,
    ScoredItem,
    judge_name,
    preference_of,
    preferences,
    verdicts,
)


class LengthScores:
    """Scores an answer by its number of tokens."""

    name = "length"

    def __init__(self) -> None:
        self.batches: list[list[ScoredItem]] = []

    async def score(self, items: Sequence[ScoredItem]) -> list[float]:
        self.batches.append(list(items))
        return [float(len(item.token_ids)) for item in items]


class Forgetful(LengthScores):
    """Loses the last answer."""

    async def score(self, items: Sequence[ScoredItem]) -> list[float]:
        return (await super().score(items))[:-1]


def pair(first: str, second: str, *, known: bool = True) -> AnswerPair:
    def item(text: str) -> ScoredItem | None:
        return ScoredItem((1, 2), tuple(range(len(text)))) if known else None

    def answer(text: str) -> JudgedAnswer:
        return JudgedAnswer(AnswerParts(text))

    question = Question([{"role": "user", "content": "?"}])
    return AnswerPair(question, answer(first), answer(second), item(first), item(second))


def first_place(_conversation: object, _a: str, _b: str) -> float:
    return 1.0


def longer(_conversation: object, a: str, b: str) -> float:
    if "x" in (a, b):
        raise JudgeError("no verdict")
    return float(len(a) > len(b))


@pytest.mark.anyio
async def test_a_judge_that_compares_is_asked_both_ways_round() -> None:
    assert await preferences(CallableJudge(first_place), [pair("one", "another")]) == [0.5]


@pytest.mark.anyio
async def test_a_batch_judge_scores_all_pairs_at_once() -> None:
    judge = LengthScores()
    found = await preferences(judge, [pair("abcd", "ab"), pair("a", "ab")])
    assert len(judge.batches) == 1
    assert found == [preference_of(4, 2), preference_of(1, 2)]


@pytest.mark.anyio
async def test_equal_answers_are_a_tie_that_nobody_scores() -> None:
    judge = LengthScores()
    assert await preferences(judge, [pair("same", "same")]) == [0.5]
    assert judge.batches == []


@pytest.mark.anyio
async def test_one_pair_without_a_verdict_does_not_stop_the_others() -> None:
    judge = CallableJudge(longer)
    found = await verdicts(judge, [pair("x", "yy"), pair("long", "no")])
    assert isinstance(found[0], JudgeError)
    assert found[1] == 1
    with pytest.raises(JudgeError):
        await preferences(judge, [pair("x", "yy"), pair("long", "no")])


@pytest.mark.anyio
async def test_answers_without_token_ids_have_no_verdict_of_a_batch_judge() -> None:
    found = await verdicts(LengthScores(), [pair("a", "bb", known=False), pair("long", "no")])
    assert isinstance(found[0], JudgeError)
    assert found[1] == preference_of(4, 2)


@pytest.mark.anyio
async def test_a_batch_judge_that_loses_a_score_is_refused() -> None:
    with pytest.raises(JudgeError, match="did not score"):
        await preferences(Forgetful(), [pair("a", "bb")])


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_the_order_of_two_scores_only_turns_the_preference_round(one: float, other: float) -> None:
    assert preference_of(one, other) + preference_of(other, one) == pytest.approx(1)


def test_a_difference_of_scores_is_the_logit_of_the_preference() -> None:
    assert preference_of(log(3), 0) == pytest.approx(0.75)


def test_a_judge_is_named_by_itself_or_by_its_class() -> None:
    assert judge_name(LengthScores()) == "length"
    assert judge_name(CallableJudge(longer)) == "CallableJudge"
