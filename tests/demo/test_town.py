import random
from collections import Counter
from itertools import islice

import pytest

from demo.shop.town import Town
from demo.shop.users import make_users
from demo.shop.world import split
from retrain.dataset.questions import normalise

pytestmark = pytest.mark.pure

USERS = make_users()


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


def test_nothing_is_asked_twice_not_even_by_another_town_of_the_same_demo() -> None:
    asked = set[str]()
    one, other = (Town(USERS, lambda name: name.endswith("7"), asked) for _ in range(2))
    same = random.Random(3)
    first = [normalise(one.training_visit(same).text) for _ in range(500)]
    same.seed(3)
    second = [normalise(other.training_visit(same).text) for _ in range(500)]
    assert len({*first, *second}) == 1000
