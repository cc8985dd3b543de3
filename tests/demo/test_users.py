import random
from collections import Counter
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.shop.users import User, make_users
from demo.shop.world import ShopQuestion, answer

pytestmark = pytest.mark.pure

QUESTION = ShopQuestion("price", "oak bench", 0)
USERS = make_users()
HONEST = next(user for user in USERS if user.honest)
RANDOM = next(user for user in USERS if not user.honest)
HELPFUL = answer(QUESTION, "helpful", random.Random(0))
CURT = answer(QUESTION, "curt", random.Random(0))
randoms = st.integers(0, 10**9).map(random.Random)
RUDE = answer(QUESTION, "rude", random.Random(0), wrong=True)


def test_the_same_seed_makes_the_same_users_and_another_seed_others() -> None:
    assert make_users(seed=4) == make_users(seed=4)
    assert make_users(seed=4) != make_users(seed=5)


def test_users_have_the_names_and_the_share_of_random_raters_asked_for() -> None:
    assert [user.name for user in USERS[:2]] == ["user-000", "user-001"]
    assert len(USERS) == 60
    assert sum(not user.honest for user in USERS) == 6


def test_thumbs_go_up_for_good_answers_and_down_for_rude_ones() -> None:
    rng = random.Random(1)
    honest = [user for user in USERS if user.honest]
    ups = [user.thumbs_up(QUESTION, HELPFUL, rng) for user in honest * 10]
    downs = [user.thumbs_up(QUESTION, RUDE, rng) for user in honest * 10]
    assert fmean(ups) > 0.8
    assert fmean(downs) < 0.15


def test_a_random_rater_prefers_nothing() -> None:
    rng = random.Random(1)
    wins = [RANDOM.prefers(QUESTION, HELPFUL, RUDE, rng) for _ in range(1000)]
    assert fmean(wins) == pytest.approx(0.5, abs=0.06)


def test_flips_are_the_only_errors_on_a_clear_difference() -> None:
    rng = random.Random(1)
    wins = [HONEST.prefers(QUESTION, HELPFUL, RUDE, rng) for _ in range(2000)]
    assert fmean(wins) == pytest.approx(1 - HONEST.flip, abs=0.02)


@given(randoms, st.sampled_from(USERS))
def test_a_ranking_names_every_answer_once(rng: random.Random, user: User) -> None:
    ranking = user.ranking(QUESTION, [HELPFUL, CURT, RUDE, HELPFUL], rng)
    assert sorted(ranking) == [0, 1, 2, 3]


def test_rankings_put_the_better_answer_first_as_a_rule() -> None:
    rng = random.Random(1)
    first = [HONEST.ranking(QUESTION, [RUDE, HELPFUL], rng)[0] for _ in range(300)]
    assert fmean(first) > 0.9


def test_better_answers_get_more_stars_and_stars_are_one_to_five() -> None:
    rng = random.Random(1)
    good = [HONEST.rating(QUESTION, HELPFUL, rng) for _ in range(300)]
    bad = [HONEST.rating(QUESTION, RUDE, rng) for _ in range(300)]
    assert set(good + bad) <= {1, 2, 3, 4, 5}
    assert fmean(good) > fmean(bad) + 2


def said(a: str, b: str, user: User = HONEST) -> Counter[str]:
    rng = random.Random(1)
    return Counter(user.compares(QUESTION, a, b, rng) for _ in range(500))


def test_answers_of_the_same_worth_are_mostly_called_equal() -> None:
    assert said(HELPFUL, f"{HELPFUL} Thanks!").most_common(1)[0][0] == "tie"


def test_two_rude_and_wrong_answers_are_mostly_both_bad() -> None:
    assert said(RUDE, f"{RUDE} Ugh.").most_common(1)[0][0] == "both_bad"


def test_the_better_answer_is_named_and_random_raters_call_nothing_equal() -> None:
    assert said(RUDE, HELPFUL).most_common(1)[0][0] == "b"
    assert set(said(RUDE, RUDE, RANDOM)) == {"a", "b"}
