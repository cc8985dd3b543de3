import pytest

from demo.smollm2.asking import QUESTIONS, Crowd
from demo.smollm2.people import make_people
from retrain.dataset.questions import normalise

pytestmark = pytest.mark.pure


def crowd(seed: int = 0) -> Crowd:
    return Crowd(make_people(10, seed=0), lambda name: name.endswith("7"), seed)


def test_there_are_more_than_400_questions_and_all_differ() -> None:
    asked = [normalise(question) for question in QUESTIONS if question]
    assert len(asked) == len(set(asked)) > 400


def test_nothing_is_asked_twice_and_held_out_people_have_questions_of_their_own() -> None:
    ours = crowd()
    others, held_out = ours.visits(500), ours.held_out_visits(400)
    texts = [visit.text for visit in others + held_out]
    assert len(texts) == len(set(texts))
    assert {visit.user.name[-1] for visit in held_out} == {"7"}
    assert "7" not in {visit.user.name[-1] for visit in others}


def test_a_question_of_held_out_people_is_never_anothers_with_a_greeting() -> None:
    ours = crowd()
    bare = {visit.text for visit in ours.held_out_visits(190)}
    assert not [visit for visit in ours.visits(900) if visit.text.endswith(tuple(bare))]


def test_a_seed_orders_the_questions() -> None:
    assert [one.text for one in crowd(1).visits(9)] == [one.text for one in crowd(1).visits(9)]
    assert [one.text for one in crowd(1).visits(9)] != [one.text for one in crowd(2).visits(9)]
