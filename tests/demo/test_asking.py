import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.shop.asking import ask, question_of
from demo.shop.asking_text import FIRST_NAMES
from demo.shop.world import QUESTIONS, ShopQuestion, worded
from retrain.dataset.questions import normalise

pytestmark = pytest.mark.pure

questions = st.sampled_from(QUESTIONS)
randoms = st.integers(0, 10**9).map(random.Random)


@given(questions, randoms)
def test_a_typed_question_can_be_told_from_its_text(
    question: ShopQuestion, rng: random.Random
) -> None:
    assert question_of(ask(question, rng)) == question


@given(questions, randoms)
def test_case_and_white_space_do_not_hide_a_question(
    question: ShopQuestion, rng: random.Random
) -> None:
    assert question_of(f"  {ask(question, rng).upper()}\n") == question


@given(st.text())
def test_other_texts_are_no_question(text: str) -> None:
    assert question_of(text) is None


@given(questions)
def test_a_bare_wording_is_a_question(question: ShopQuestion) -> None:
    assert question_of(worded(question)) == question


@given(questions, randoms)
def test_a_question_has_a_name_or_a_number_of_its_own(
    question: ShopQuestion, rng: random.Random
) -> None:
    text = ask(question, rng)
    assert any(mark.isdigit() for mark in text) or any(name in text for name in FIRST_NAMES)


def test_one_fact_is_asked_for_in_thousands_of_ways() -> None:
    rng = random.Random(0)
    texts = [normalise(ask(QUESTIONS[0], rng)) for _ in range(3000)]
    assert len(set(texts)) > 2980
