import random
from collections import Counter
from itertools import islice
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.shop.users import Habits, Town, User, Visit, judge_visit, make_users
from demo.shop.world import ShopQuestion, answer, split

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
    for said in judge_visit(Visit(HONEST, QUESTION, ""), answers, rng):
        assert 0 <= said.choice < len(answers)
        if said.metric == "preference":
            assert isinstance(said.value, int)
            assert answers[said.value] != answers[said.choice]
        if said.metric == "ranking":
            assert isinstance(said.value, list)
            assert said.value[0] == said.choice


def test_a_visit_gives_about_four_judgements() -> None:
    rng = random.Random(1)
    answers = [HELPFUL, CURT, RUDE, f"{CURT} Thanks"]
    counts = [len(judge_visit(Visit(HONEST, QUESTION, ""), answers, rng)) for _ in range(500)]
    assert 3.5 < fmean(counts) < 4.5


def test_held_out_users_ask_held_out_wordings_and_others_never_do() -> None:
    town = Town(USERS, lambda name: name.endswith("7"))
    rng, (train, held_out) = random.Random(1), split()
    for _ in range(200):
        visit = town.training_visit(rng)
        assert not visit.user.name.endswith("7")
        assert visit.question in train
    for visit in islice(town.held_out_visits(rng), 200):
        assert visit.user.name.endswith("7")
        assert visit.question in held_out


def test_every_held_out_question_is_asked_equally_often() -> None:
    town = Town(USERS, lambda name: name.endswith("7"))
    held_out = split()[1]
    visits = islice(town.held_out_visits(random.Random(1)), 3 * len(held_out))
    asked = Counter(visit.question for visit in visits)
    assert set(asked.values()) == {3}
    assert asked.keys() == set(held_out)


def test_a_user_asks_what_is_held_out_only_where_the_user_is() -> None:
    held = {user.name for user in USERS[:5]}
    town = Town(USERS, held.__contains__)
    held_out_wordings = set(split()[1])
    rng = random.Random(0)
    for user in USERS[:10]:
        visit = town.visit_of(user, rng)
        assert visit.user == user
        assert (visit.question in held_out_wordings) == (user.name in held)
