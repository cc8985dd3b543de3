"""The offline gate: what it promises, and that nothing but the evidence moves it."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.gates import simulated_false_promotion
from bench.support.gate_power import critical_wins, false_promotion, power
from retrain.config import GateConfig
from retrain.gates.length_adjustment import LengthPoint, length_adjusted_p
from retrain.gates.offline import (
    AssertionCounts,
    CallCounts,
    Comparison,
    Evidence,
    Verdict,
    decide,
    sign_test_p,
    win_rate,
)

pytestmark = pytest.mark.pure

SMALL = GateConfig(comparisons=40, minimum=5)

comparisons = st.builds(
    Comparison,
    cluster=st.sampled_from([f"question {number}" for number in range(30)]),
    score=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    candidate_words=st.integers(0, 60),
    live_words=st.integers(0, 60),
)
evidences = st.lists(comparisons, max_size=60).map(lambda c: Evidence(comparisons=tuple(c)))


def outcomes(wins: int, losses: int, ties: int = 0, words: int = 10) -> tuple[Comparison, ...]:
    scores = [1.0] * wins + [0.0] * losses + [0.5] * ties
    return tuple(
        Comparison(cluster=str(i), score=score, candidate_words=words, live_words=10)
        for i, score in enumerate(scores)
    )


def evidence(wins: int, losses: int, words: int = 10) -> Evidence:
    return Evidence(comparisons=outcomes(wins, losses, words=words))


def test_a_clear_winner_is_promoted_with_its_numbers() -> None:
    verdict = decide(Evidence(comparisons=outcomes(240, 80, 80)), GateConfig())
    assert verdict.promoted
    assert (verdict.n, verdict.clusters) == (400, 400)
    assert (verdict.wins, verdict.losses, verdict.ties) == (240, 80, 80)
    assert verdict.rate == 0.75
    assert verdict.low < 0.75 < verdict.high
    assert verdict.score == 0.7


def test_an_equal_candidate_is_refused_and_told_why() -> None:
    verdict = decide(evidence(200, 200), GateConfig())
    assert verdict.outcome == "reject"
    assert any("200 wins, 200 losses" in reason for reason in verdict.reasons)


def test_too_few_questions_are_no_promotion_however_clear() -> None:
    verdict = decide(evidence(379, 0), GateConfig())
    assert verdict.reasons == ["379 different questions were compared; the minimum is 380."]


def test_no_comparisons_are_no_promotion() -> None:
    verdict = decide(Evidence(comparisons=()), GateConfig())
    assert not verdict.promoted
    assert verdict.p == 1.0
    assert (verdict.low, verdict.high) == (0.0, 1.0)


def test_the_same_question_counts_once() -> None:
    repeated = tuple(
        Comparison(cluster="one", score=1.0, candidate_words=5, live_words=5) for _ in range(400)
    )
    verdict = decide(Evidence(comparisons=repeated), GateConfig())
    assert (verdict.n, verdict.clusters, verdict.wins) == (400, 1, 1)
    assert not verdict.promoted


def test_a_question_goes_by_the_sign_of_its_mean_score() -> None:
    scores = [1.0, 0.25, 0.25]
    one = [
        Comparison(cluster="one", score=score, candidate_words=5, live_words=5) for score in scores
    ]
    assert win_rate(one).ties == 1


@pytest.mark.parametrize(("passed", "promoted"), [(96, True), (95, False)])
def test_assertions_may_fall_by_the_margin_and_no_more(passed: int, *, promoted: bool) -> None:
    counts = AssertionCounts(cases=100, candidate_passed=passed, live_passed=98)
    verdict = decide(Evidence(comparisons=outcomes(300, 100), assertions=counts), GateConfig())
    assert verdict.promoted is promoted


@pytest.mark.parametrize(("rate", "promoted"), [(0.03, True), (0.031, False)])
def test_harm_over_the_ceiling_outweighs_any_win_rate(rate: float, *, promoted: bool) -> None:
    config = GateConfig(harm_ceilings={"rude": 0.03})
    verdict = decide(Evidence(comparisons=outcomes(400, 0), harms={"rude": rate}), config)
    assert verdict.promoted is promoted


def test_a_harm_that_was_not_measured_is_no_promotion() -> None:
    verdict = decide(evidence(400, 0), GateConfig(harm_ceilings={"rude": 0.03}))
    assert verdict.reasons == ["Guardrail harm:rude failed: not measured, limit 0.03."]


@pytest.mark.parametrize(("words", "promoted"), [(4, False), (5, True), (15, True), (16, False)])
def test_mean_length_stays_within_its_ratio(words: int, *, promoted: bool) -> None:
    config = GateConfig(adjust_for_length=False)
    assert decide(evidence(400, 0, words=words), config).promoted is promoted


def test_length_against_a_silent_live_is_not_measured_and_not_passed() -> None:
    silent = tuple(c.model_copy(update={"live_words": 0}) for c in outcomes(400, 0))
    verdict = decide(Evidence(comparisons=silent), GateConfig(adjust_for_length=False))
    assert [rail.value for rail in verdict.guardrails] == [None, None]
    assert not verdict.promoted


def test_a_candidate_that_only_wins_by_length_is_refused() -> None:
    random = Random(1)
    rows = []
    for number in range(400):
        words = random.randint(60, 180)
        score = 1.0 if words > 105 else 0.0
        rows.append(
            Comparison(cluster=str(number), score=score, candidate_words=words, live_words=100)
        )
    verdict = decide(Evidence(comparisons=tuple(rows)), GateConfig())
    assert verdict.p <= 0.01
    assert verdict.p_length_adjusted is not None
    assert verdict.p_length_adjusted > 0.01
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith("At equal length this does not hold")


def test_a_minimum_that_could_never_be_met_is_refused() -> None:
    with pytest.raises(ValidationError, match="nothing could ever be promoted"):
        GateConfig(comparisons=100)


@given(evidences, st.randoms(use_true_random=False))
def test_the_order_of_the_evidence_does_not_matter(found: Evidence, random: Random) -> None:
    shuffled = list(found.comparisons)
    random.shuffle(shuffled)
    assert decide(Evidence(comparisons=tuple(shuffled)), SMALL) == decide(found, SMALL)


@given(evidences, st.integers(1, 60))
def test_one_more_win_at_equal_length_never_turns_promotion_into_rejection(
    found: Evidence, words: int
) -> None:
    before = decide(found, SMALL)
    win = Comparison(cluster="another", score=1.0, candidate_words=words, live_words=words)
    after = decide(Evidence(comparisons=(*found.comparisons, win)), SMALL)
    assert after.promoted or not before.promoted


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_loss_turned_into_a_win_only_lowers_p(wins: int, losses: int) -> None:
    assert sign_test_p(wins + 1, losses) <= sign_test_p(wins, losses + 1)


@given(evidences)
def test_a_verdict_survives_json(found: Evidence) -> None:
    verdict = decide(found, GateConfig(harm_ceilings={"rude": 0.1}))
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


@given(evidences)
def test_every_verdict_gives_a_reason(found: Evidence) -> None:
    assert decide(found, SMALL).reasons


@settings(max_examples=60)
@given(st.integers(1, 500), st.floats(0, 0.99), st.sampled_from([0.001, 0.01, 0.05]))
def test_false_promotion_is_at_most_alpha(n: int, tie_share: float, alpha: float) -> None:
    config = GateConfig(comparisons=n, minimum=1, alpha=alpha)
    assert false_promotion(config, tie_share) <= alpha


@given(st.integers(0, 900), st.sampled_from([0.001, 0.01, 0.05]))
def test_the_critical_number_of_wins_is_the_first_that_passes(decisive: int, alpha: float) -> None:
    critical = critical_wins(decisive, alpha)
    passing = [w for w in range(decisive + 1) if sign_test_p(w, decisive - w) <= alpha]
    assert critical == min(passing, default=decisive + 1)


def test_power_at_a_true_sixty_per_cent_is_at_least_85_per_cent() -> None:
    assert power(GateConfig(), 0.6, 0.2) >= 0.85


def test_repeated_questions_and_a_favoured_position_keep_alpha() -> None:
    gate, counting_comparisons, one_position = simulated_false_promotion(runs=3_000, seed=2)
    assert gate["95 % low"] <= GateConfig().alpha
    assert counting_comparisons["95 % low"] > GateConfig().alpha
    assert one_position["95 % low"] > GateConfig().alpha


def points(*pairs: tuple[int, float]) -> list[LengthPoint]:
    return [LengthPoint(score, ratio) for score, ratio in pairs]


def test_equal_lengths_leave_the_exact_p_as_it_is() -> None:
    assert length_adjusted_p(points((1, 0.0), (1, 0.0), (-1, 0.0)), 0.123) == 0.123


def test_one_constant_ratio_cannot_be_told_from_quality() -> None:
    assert length_adjusted_p(points(*[(1, 0.2)] * 50), 1e-9) == 0.5


def test_wins_that_length_separates_from_losses_show_nothing() -> None:
    separated = points(*[(1, 0.1 * k) for k in range(1, 30)], *[(-1, -0.1 * k) for k in range(30)])
    assert length_adjusted_p(separated, 0.5) > 0.3


def test_wins_at_every_length_show_quality() -> None:
    assert length_adjusted_p(points(*[(1, 0.1 * k) for k in range(-20, 20)]), 1e-9) < 1e-6


@given(st.lists(st.tuples(st.sampled_from([-1, 0, 1]), st.floats(-8, 8)), max_size=40))
def test_the_length_adjusted_p_is_a_probability_for_any_evidence(
    pairs: list[tuple[int, float]],
) -> None:
    assert 0 <= length_adjusted_p(points(*pairs), 0.5) <= 1


@given(st.lists(st.tuples(st.sampled_from([-1, 1]), st.floats(-2, 2)), min_size=5, max_size=40))
def test_swapping_the_versions_mirrors_the_length_adjusted_p(
    pairs: list[tuple[int, float]],
) -> None:
    swapped = [(-score, -ratio) for score, ratio in pairs]
    p, mirrored = length_adjusted_p(points(*pairs), 0.5), length_adjusted_p(points(*swapped), 0.5)
    assert p + mirrored == pytest.approx(1, abs=0.01)


@given(due=st.integers(0, 200), data=st.data(), ceiling=st.floats(0, 1))
def test_wrong_calls_reject_exactly_above_the_ceiling(
    due: int, data: st.DataObject, ceiling: float
) -> None:
    wrong = data.draw(st.integers(0, due))
    calls = CallCounts(due=due, missing=wrong)
    found = Evidence(comparisons=outcomes(300, 100), calls=calls)
    verdict = decide(found, GateConfig(wrong_call_ceiling=ceiling))
    assert verdict.promoted == (not due or wrong / due <= ceiling + 1e-9)


def test_the_reason_tells_what_was_wrong_with_the_calls() -> None:
    calls = CallCounts(due=10, missing=1, another=2, invalid=3)
    verdict = decide(Evidence(comparisons=outcomes(300, 100), calls=calls), GateConfig())
    assert verdict.reasons == [
        "Guardrail tool calls failed: 0.6 (1 missing, 2 of another tool and 3 invalid on 10 "
        "questions that need one), limit 0.05."
    ]
