import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.shop.feedback import Habits, judge_visit
from demo.shop.town import Visit
from demo.shop.users import make_users
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
EVERYTHING = Habits(thumb=1, preference=1, ranking=0, rating=1, demonstration=1)


def test_only_honest_users_write_what_they_wanted_and_only_where_they_voted_down() -> None:
    rng = random.Random(1)
    honest = judge_visit(Visit(HONEST, QUESTION, ""), [RUDE] * 20, rng, EVERYTHING)
    down = {said.choice for said in honest if said.metric == "thumbs" and said.value is False}
    edited = {said.choice for said in honest if said.metric == "demonstration"}
    assert edited == down
    liar = judge_visit(Visit(RANDOM, QUESTION, ""), [RUDE] * 20, rng, EVERYTHING)
    assert not [said for said in liar if said.metric == "demonstration"]


def test_equal_answers_are_never_compared() -> None:
    said = judge_visit(Visit(HONEST, QUESTION, ""), [CURT] * 4, random.Random(1), EVERYTHING)
    assert not [one for one in said if one.metric == "preference"]


@given(randoms)
def test_a_judgement_is_about_answers_that_were_given(rng: random.Random) -> None:
    answers = [HELPFUL, CURT, RUDE, CURT]
    for said in judge_visit(Visit(HONEST, QUESTION, ""), answers, rng, EVERYTHING):
        assert 0 <= said.choice < len(answers)
        if said.metric == "preference":
            assert isinstance(said.value, int)
            assert answers[said.value] != answers[said.choice]
        if said.metric == "ranking":
            assert isinstance(said.value, list)
            assert said.value[0] == said.choice


def test_a_fifth_of_the_answers_gets_a_thumb() -> None:
    rng = random.Random(1)
    said = [judge_visit(Visit(HONEST, QUESTION, ""), [HELPFUL], rng) for _ in range(3000)]
    assert fmean(len(one) for one in said) == pytest.approx(0.2, abs=0.03)
