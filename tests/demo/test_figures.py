import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.report.figures import answer_figures, win_rate, win_rate_of
from demo.shop.world import ShopQuestion

pytestmark = pytest.mark.pure

QUESTION = ShopQuestion("price", "oak bench", 0)
RIGHT = f"{QUESTION.truth}."
POLITE = f"Thanks! {RIGHT}"
RUDE = f"Ugh, {RIGHT}"
counts = st.integers(0, 300)


def test_figures_of_three_answers() -> None:
    figures = answer_figures([(QUESTION, RIGHT), (QUESTION, POLITE), (QUESTION, "Ugh.")])
    assert figures.n == 3
    assert figures.correct == pytest.approx(2 / 3)
    assert figures.polite == pytest.approx(1 / 3)
    assert figures.rude == pytest.approx(1 / 3)
    assert figures.words == pytest.approx((2 + 3 + 1) / 3)
    assert figures.utility == pytest.approx((2.0 + 3.2 - 2.0) / 3)
    assert figures.style_mix == pytest.approx(
        {"curt": 1 / 3, "helpful": 1 / 3, "long": 0, "rude": 1 / 3, "guess": 0}
    )


def test_a_win_a_loss_and_two_ties_are_even() -> None:
    mine, other = [POLITE, RUDE, RIGHT, RUDE], [RIGHT, RIGHT, RIGHT, RUDE]
    rate = win_rate([QUESTION] * 4, mine, other)
    assert (rate.rate, rate.n) == (0.5, 4)
    assert rate.p == pytest.approx(0.75)


def test_eight_wins_of_ten_by_hand() -> None:
    rate = win_rate_of(8, 2, 0)
    assert rate.rate == pytest.approx(0.8)
    assert rate.p == pytest.approx((45 + 10 + 1) / 1024)
    assert rate.low == pytest.approx(0.4439, abs=1e-4)
    assert rate.high == pytest.approx(0.9748, abs=1e-4)


def test_ties_pull_rate_and_interval_towards_one_half() -> None:
    rate = win_rate_of(8, 2, 10)
    assert rate.rate == pytest.approx(0.65)
    assert rate.low == pytest.approx((0.4439 * 10 + 5) / 20, abs=1e-4)
    assert rate.p == win_rate_of(8, 2, 0).p


def test_nothing_but_ties_shows_nothing() -> None:
    rate = win_rate_of(0, 0, 7)
    assert (rate.rate, rate.low, rate.high, rate.p, rate.n) == (0.5, 0.0, 1.0, 1.0, 7)


@given(counts, counts, counts)
def test_the_interval_holds_the_rate_and_mirrors_when_the_sides_swap(
    wins: int, losses: int, ties: int
) -> None:
    ties += 1
    rate, mirrored = win_rate_of(wins, losses, ties), win_rate_of(losses, wins, ties)
    assert 0 <= rate.low <= rate.rate <= rate.high <= 1
    assert rate.rate == pytest.approx(1 - mirrored.rate)
    assert rate.low == pytest.approx(1 - mirrored.high)


def test_no_answers_and_uneven_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="ask the version something"):
        answer_figures([])
    with pytest.raises(ValueError, match="nothing to compare"):
        win_rate([], [], [])
    with pytest.raises(ValueError, match="shorter"):
        win_rate([QUESTION], [RIGHT], [])
