"""A judge held against what held-out people said."""

from collections.abc import Sequence

import pytest

from retrain.evaluation.judges import CallableJudge, JudgeError
from retrain.evaluation.verdicts import ScoredItem
from retrain.gates.judge_agreement import judge_agreement, mutual_agreement
from retrain.judging.agreement import calibrations, of_versions, people_only, rated
from tests.retrain.judging.rows import judged_label, judged_pair

pytestmark = pytest.mark.anyio


class LengthScores:
    name = "length"

    async def score(self, items: Sequence[ScoredItem]) -> list[float]:
        return [float(len(item.token_ids)) for item in items]


def longer(_conversation: object, a: str, b: str) -> float:
    if "?" in (a, b):
        raise JudgeError("no verdict")
    return float(len(a) > len(b))


async def test_a_judge_that_compares_and_one_that_scores_are_held_against_people_alike() -> None:
    pairs = [
        judged_pair("long", "no", "a"),
        judged_pair("no", "longer", "b", rater="bob"),
        judged_pair("longest", "x", "b", rater="cyd"),
    ]
    for judge in (CallableJudge(longer), LengthScores()):
        seen = await calibrations(judge, pairs, most=10, seed=0, concurrency=2)
        found = judge_agreement(seen)
        assert found is not None
        assert found.rate == pytest.approx(2 / 3)
        assert (found.comparisons, found.raters) == (3, 3)


async def test_pairs_without_a_verdict_are_left_out() -> None:
    pairs = [judged_pair("long", "no", "a"), judged_pair("?", "no", "a")]
    assert len(await calibrations(CallableJudge(longer), pairs, most=9, seed=0, concurrency=1)) == 1


async def test_completions_have_no_conversation_that_a_judge_could_compare() -> None:
    pairs = [judged_pair("long", "no", "a", messages=None)]
    assert await calibrations(CallableJudge(longer), pairs, most=9, seed=0, concurrency=1) == []
    assert len(await calibrations(LengthScores(), pairs, most=9, seed=0, concurrency=1)) == 1


async def test_from_many_comparisons_a_sample_is_drawn() -> None:
    pairs = [judged_pair("long", f"{n}", "a", rater=str(n)) for n in range(50)]
    first, second = [
        await calibrations(LengthScores(), order, most=20, seed=1, concurrency=1)
        for order in (pairs, pairs[::-1])
    ]
    assert len(first) == 20
    assert {one.rater for one in first} == {one.rater for one in second}


def test_people_who_saw_the_same_texts_the_other_way_round_agree() -> None:
    pairs = [judged_pair("one", "two", "a"), judged_pair("two", "one", "b", rater="bob")]
    found = mutual_agreement(people_only(pairs))
    assert found is not None
    assert found.rate == 1


async def test_rated_answers_are_scored() -> None:
    labels = [judged_label("good one", good=True), judged_label("bad", good=False, rater="bob")]
    found = await rated(LengthScores(), labels)
    assert [(one.rater, one.score, one.good) for one in found] == [
        ("ann", 8.0, True),
        ("bob", 3.0, False),
    ]
    assert await rated(LengthScores(), []) == []


def test_comparisons_of_live_and_candidate_are_found() -> None:
    pairs = [judged_pair("one", "two", "a", version="new"), judged_pair("one", "two", "a")]
    assert of_versions(pairs, {"base", "new"}) == pairs[:1]
