import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.shop.chats import chats
from demo.shop.taste import features, style_of, utility
from demo.shop.world import (
    INTENTS,
    QUESTIONS,
    STYLE_SHARES,
    ShopQuestion,
    answer,
    split,
)
from demo.shop.world_text import Style

pytestmark = pytest.mark.pure

questions = st.sampled_from(QUESTIONS)
styles = st.sampled_from(sorted(STYLE_SHARES))
randoms = st.randoms(use_true_random=False)


def test_the_shop_knows_69_facts_in_353_wordings() -> None:
    assert len(INTENTS) == 10
    assert sum(len(intent.facts) for intent in INTENTS.values()) == 69
    assert len(QUESTIONS) == 353


@given(st.integers(0, 1000))
def test_a_split_holds_out_a_fifth_of_the_questions_and_no_fact(seed: int) -> None:
    train, held_out = split(seed)
    assert len(held_out) == 70
    assert {*train, *held_out} == set(QUESTIONS)
    assert len(train) + len(held_out) == len(QUESTIONS)
    facts = {(question.intent, question.key) for question in train}
    assert len(facts) == 69


@given(questions, styles, randoms, st.booleans())
def test_an_answer_is_read_as_it_was_meant(
    question: ShopQuestion, style: Style, rng: random.Random, wrong: bool
) -> None:
    text = answer(question, style, rng, wrong=wrong)
    assert features(question, text).correct is not wrong
    assert style_of(question, text) == style


@given(questions, randoms)
def test_users_like_helpful_answers_best_and_rude_ones_least(
    question: ShopQuestion, rng: random.Random
) -> None:
    worth = {style: utility(question, answer(question, style, rng)) for style in STYLE_SHARES}
    assert max(worth, key=worth.__getitem__) == "helpful"
    assert min(worth, key=worth.__getitem__) == "rude"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{truth}.", True),
        ("It is {truth} or {other}.", False),
        ("The tin lantern costs {truth}.", False),
        ("I cannot say.", False),
        ("", False),
    ],
)
def test_correct_means_the_right_value_and_nothing_else(text: str, expected: bool) -> None:
    question = ShopQuestion("price", "oak bench", 0)
    other = next(value for value in INTENTS["price"].values if value != question.truth)
    seen = features(question, text.format(truth=question.truth, other=other))
    assert seen.correct is expected


def test_utility_adds_up_the_features() -> None:
    question = ShopQuestion("price", "oak bench", 0)
    polite = f"Thanks! The oak bench costs {question.truth}."
    assert utility(question, polite) == pytest.approx(3.2)
    assert utility(question, "Ugh.") == pytest.approx(-2.0)
    assert utility(question, "") == pytest.approx(-2.0)
    assert utility(question, " ".join(["word"] * 30)) == pytest.approx(-0.5)


def test_chats_have_every_style_at_its_share_and_are_reproducible() -> None:
    drawn = list(chats(4000, split()[0], random.Random(3)))
    assert drawn == list(chats(4000, split()[0], random.Random(3)))
    for style, share in STYLE_SHARES.items():
        seen = sum(chat.style == style for chat in drawn) / len(drawn)
        assert seen == pytest.approx(share, abs=0.03)
