"""Win rates corrected for the judge's errors: unbiased, with intervals that cover the truth."""

import random
from collections.abc import Callable

import pytest

from retrain.gates.judge_agreement import Calibration
from retrain.gates.judge_correction import Corrected, Outcomes, correct, vote_accuracy

pytestmark = pytest.mark.pure

TRIALS = 150
COVERED = 0.91
"""Least share of 95 % intervals that hold the truth, less three standard errors of the share."""


def flipped(truth: float, right: float, draw: random.Random) -> float:
    return truth if draw.random() < right else 1 - truth


def decisive(
    draw: random.Random, *, true_rate: float, accuracy: float, people: int = 40, each: int = 5
) -> Corrected | None:
    """Simulate an evaluation of 400 questions, and the comparisons of held-out people."""
    seen = []
    for number in range(people * each):
        truth = float(draw.random() < 0.5)
        seen.append(Calibration(number % people, number, truth, flipped(truth, accuracy, draw)))
    wins = sum(int(flipped(float(draw.random() < true_rate), accuracy, draw)) for _ in range(400))
    return correct(Outcomes(wins, 400 - wins, 0), seen, seed=draw.randrange(2**32), draws=400)


def with_ties(draw: random.Random, *, accuracy: float) -> Corrected | None:
    """The same with three outcomes: the truth is 45 % won, 20 % tied, 35 % lost."""
    seen = []
    for number in range(400):
        truth = draw.choices((1.0, 0.5, 0.0), (0.4, 0.2, 0.4))[0]
        seen.append(Calibration(number % 40, number, truth, judged(truth, accuracy, draw)))
    truths = draw.choices((1.0, 0.5, 0.0), (0.45, 0.2, 0.35), k=400)
    found = [judged(truth, accuracy, draw) for truth in truths]
    wins, losses = found.count(1.0), found.count(0.0)
    return correct(
        Outcomes(wins, losses, 400 - wins - losses), seen, seed=draw.randrange(2**32), draws=400
    )


def judged(truth: float, accuracy: float, draw: random.Random) -> float:
    if truth == 0.5:
        return draw.choices((1.0, 0.5, 0.0), (0.2, 0.6, 0.2))[0]
    if draw.random() < 0.15:
        return 0.5
    return flipped(truth, accuracy, draw)


def covered(one: Callable[[random.Random], Corrected | None], truth: float) -> tuple[float, float]:
    """Return the share of intervals that hold the truth, and the mean estimate."""
    draw = random.Random(5)
    found = [made for _ in range(TRIALS) if (made := one(draw)) is not None]
    holding = sum(made.low <= truth <= made.high for made in found)
    return holding / TRIALS, sum(made.rate for made in found) / TRIALS


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", [0.65, 0.8, 0.95])
@pytest.mark.parametrize("true_rate", [0.5, 0.6])
def test_the_interval_covers_the_true_rate(true_rate: float, accuracy: float) -> None:
    share, mean = covered(
        lambda draw: decisive(draw, true_rate=true_rate, accuracy=accuracy), true_rate
    )
    assert share >= COVERED
    assert mean == pytest.approx(true_rate, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", [0.75, 0.9])
def test_the_interval_covers_with_ties_as_a_third_outcome(accuracy: float) -> None:
    share, mean = covered(lambda draw: with_ties(draw, accuracy=accuracy), 0.55)
    assert share >= COVERED
    assert mean == pytest.approx(0.55, abs=0.03)


def test_ties_of_people_make_a_third_outcome() -> None:
    found = with_ties(random.Random(1), accuracy=0.9)
    assert found is not None
    assert found.method == "three outcomes"


def test_a_judge_that_never_errs_is_not_corrected() -> None:
    seen = [Calibration(n, n, float(n % 2), float(n % 2)) for n in range(200)]
    found = correct(Outcomes(240, 160, 50), seen)
    assert found is not None
    assert found.rate == pytest.approx(0.6)
    assert found.accuracy == 1


def test_errors_lie_between_the_true_rate_and_one_half() -> None:
    found = decisive(random.Random(2), true_rate=0.65, accuracy=0.75)
    assert found is not None
    assert found.rate > 0.55


def test_the_fewer_people_compared_the_wider_the_interval() -> None:
    def width(people: int) -> float:
        found = decisive(random.Random(3), true_rate=0.6, accuracy=0.8, people=people)
        assert found is not None
        return found.high - found.low

    assert width(8) > width(60) > width(400)


def test_a_coin_says_nothing() -> None:
    seen = [Calibration(n, n, float(n % 2), float(n % 4 < 2)) for n in range(200)]
    found = correct(Outcomes(300, 100, 0), seen)
    assert found is not None
    assert (found.low, found.high) == (0, 1)


@pytest.mark.parametrize("outcomes", [Outcomes(0, 0, 10), Outcomes(10, 5, 0)])
def test_without_a_decision_or_a_comparison_there_is_nothing_to_correct(
    outcomes: Outcomes,
) -> None:
    assert correct(outcomes, []) is None
    if not outcomes.wins:
        assert correct(outcomes, [Calibration(1, 1, 1, 1)]) is None


def test_the_same_data_give_the_same_interval() -> None:
    seen = [Calibration(n % 9, n, float(n % 2), float(n % 7 > 2)) for n in range(100)]
    assert correct(Outcomes(60, 40, 5), seen) == correct(Outcomes(60, 40, 5), seen)


@pytest.mark.parametrize(("agreement", "accuracy"), [(1, 1), (0.625, 0.75), (0.5, 1), (0.3, 1)])
def test_how_often_a_vote_is_right_follows_from_how_often_two_people_agree(
    agreement: float, accuracy: float
) -> None:
    assert vote_accuracy(agreement) == pytest.approx(accuracy)


def test_a_judge_is_not_blamed_for_the_errors_of_people() -> None:
    draw = random.Random(4)
    seen = []
    for pair in range(300):
        truth = float(draw.random() < 0.5)
        seen += [Calibration((pair, n), pair, flipped(truth, 0.8, draw), truth) for n in range(2)]
    found = correct(Outcomes(240, 160, 0), seen)
    assert found is not None
    assert found.accuracy > 0.95
    assert found.rate == pytest.approx(0.6, abs=0.02)
