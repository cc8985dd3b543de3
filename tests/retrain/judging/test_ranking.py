"""AUROC of scores on rated answers, with an interval that draws people, not answers."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.judging.ranking import Rated, ranking

pytestmark = pytest.mark.pure

answers = st.lists(
    st.builds(
        Rated,
        rater=st.sampled_from("abcdef"),
        score=st.sampled_from([-1.5, 0.0, 0.25, 2.0]),
        good=st.booleans(),
    ),
    max_size=30,
)


def by_hand(rated: Sequence[Rated]) -> float:
    pairs = [(one.score, other.score) for one in rated for other in rated if one.good > other.good]
    return sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)


@given(answers)
def test_it_is_the_share_of_pairs_in_the_right_order(rated: Sequence[Rated]) -> None:
    found = ranking(rated, draws=20)
    if len({one.good for one in rated}) < 2:
        assert found is None
    else:
        assert found is not None
        assert found.auroc == pytest.approx(by_hand(rated))
        assert 0 <= found.low <= found.high <= 1


def test_perfect_scores_rank_perfectly() -> None:
    rated = [Rated(str(n), float(n % 2), n % 2 == 1) for n in range(20)]
    found = ranking(rated)
    assert found is not None
    assert (found.auroc, found.low, found.high) == (1, 1, 1)
    assert (found.good, found.bad, found.raters) == (10, 10, 20)


def test_the_interval_is_wide_where_few_people_said_much() -> None:
    def width(people: int) -> float:
        draw = random.Random(1)
        taste = [draw.gauss(0, 2) for _ in range(people)]
        rated = []
        for number in range(600):
            rater, quality = number % people, draw.gauss(0, 1)
            good = quality + taste[rater] * draw.gauss(0, 1) > 0
            rated.append(Rated(str(rater), quality + taste[rater], good))
        found = ranking(rated, draws=300)
        assert found is not None
        return found.high - found.low

    assert width(5) > width(100)


def test_the_same_votes_give_the_same_interval() -> None:
    rated = [Rated(str(n % 7), float(n % 5), n % 3 == 0) for n in range(60)]
    assert ranking(rated, seed=3) == ranking(rated, seed=3)
