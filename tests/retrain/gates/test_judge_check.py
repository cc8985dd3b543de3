"""Whether a judge may gate, and what the offline gate decides where none does."""

from typing import Any

import pytest

from retrain.config import GateConfig
from retrain.gates.judge_agreement import Agreement
from retrain.gates.judge_check import JudgeCheck, checked
from retrain.gates.judge_text import judge_sentences
from retrain.gates.offline import AssertionCounts, Comparison, Evidence, decide

pytestmark = pytest.mark.pure

CONFIG = GateConfig(comparisons=400, minimum=380)


def check(low: float, comparisons: int, **fields: Any) -> JudgeCheck:
    agreement = Agreement(rate=low + 0.05, low=low, comparisons=comparisons, raters=40)
    return checked(JudgeCheck(judge="panel", agreement=agreement, **fields), CONFIG)


def evidence(score: float | None = 1.0, words: int = 10, **fields: Any) -> Evidence:
    comparisons = tuple(
        Comparison(cluster=str(number), score=score, candidate_words=words, live_words=10)
        for number in range(400)
    )
    return Evidence(comparisons=comparisons, **fields)


@pytest.mark.parametrize("trained", [True, False])
def test_a_judge_at_the_bound_gates(trained: bool) -> None:
    assert check(0.75, 200, trained=trained).distrust is None


@pytest.mark.parametrize("trained", [True, False])
def test_a_judge_below_the_bound_does_not(trained: bool) -> None:
    distrust = check(0.74, 200, trained=trained).distrust
    assert distrust is not None
    assert "the lower 95 % bound is 74.0%, retrain.gate.agreement asks for 75.0%" in distrust


def test_of_few_comparisons_only_a_judge_that_the_run_trained_is_distrusted() -> None:
    assert check(0.3, 99).distrust is None
    assert check(0.99, 99, trained=True).distrust is not None
    nothing = JudgeCheck(judge="people", trained=True)
    assert "0 judgements of held-out people" in (checked(nothing, CONFIG).distrust or "")
    assert checked(JudgeCheck(judge="panel"), CONFIG).distrust is None


def test_a_distrusted_judge_promotes_nothing_without_a_canary() -> None:
    verdict = decide(evidence(judge=check(0.5, 200)), CONFIG)
    assert verdict.outcome == "reject"
    assert "agrees with held-out people" in verdict.reasons[0]


def test_with_a_canary_its_users_decide_whatever_a_distrusted_judge_says() -> None:
    verdict = decide(evidence(0.0, judge=check(0.5, 200), canary=True), CONFIG)
    assert (verdict.outcome, verdict.promoted, verdict.judged) == ("canary", True, False)
    assert verdict.reasons[0].endswith("The users of the canary decide.")


def test_a_trusted_judge_decides_even_if_a_canary_follows() -> None:
    trusted = check(0.8, 200)
    assert decide(evidence(judge=trusted, canary=True), CONFIG).outcome == "promote"
    assert decide(evidence(0.0, judge=trusted, canary=True), CONFIG).outcome == "reject"


def test_unjudged_answers_reach_a_canary_only_past_the_guardrails() -> None:
    unjudged: dict[str, Any] = {"judged": False, "canary": True}
    assert decide(evidence(None, **unjudged), CONFIG).outcome == "canary"
    assert decide(evidence(None, words=30, **unjudged), CONFIG).outcome == "reject"
    failing = AssertionCounts(cases=10, candidate_passed=1, live_passed=9)
    assert decide(evidence(None, assertions=failing, **unjudged), CONFIG).outcome == "reject"


def test_too_few_answers_reach_no_canary() -> None:
    few = Evidence(comparisons=evidence(None).comparisons[:100], judged=False, canary=True)
    verdict = decide(few, CONFIG)
    assert verdict.outcome == "reject"
    assert verdict.reasons == ["100 different questions were compared; the minimum is 380."]


def test_the_sign_test_does_not_depend_on_the_agreement() -> None:
    judges = (None, check(0.9, 200), check(0.5, 200))
    numbers = {decide(evidence(judge=judge), CONFIG).p for judge in judges}
    assert len(numbers) == 1


def test_the_figures_are_told_in_sentences() -> None:
    together = Agreement(rate=0.7, low=0.6, comparisons=50, raters=20)
    told = check(0.8, 200, people_together=together).model_dump(mode="json")
    assert judge_sentences(told) == [
        "The judge (panel) agrees with held-out people on 85.0% of 200 comparisons by 40 people; "
        "the lower 95 % bound is 80.0%.",
        "People agree with each other on 70.0% of 50 pairs of verdicts on the same answers.",
    ]
    assert "could not be held against people" in judge_sentences({"judge": "panel"})[0]
