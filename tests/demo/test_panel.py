import random
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.shop.asking import ask
from demo.shop.panel import Panel, panel
from demo.shop.users import make_users
from demo.shop.world import QUESTIONS, ShopQuestion, answer
from retrain.evaluation.judges import Judge

pytestmark = pytest.mark.anyio
PEOPLE = make_users(5, seed=9001, random_share=0.0, prefix="panel")
TEXT = st.text(max_size=40)


def conversation(question: ShopQuestion, seed: int = 0) -> list[dict[str, Any]]:
    return [{"role": "user", "content": ask(question, random.Random(seed))}]


def answers(question: ShopQuestion, seed: int) -> tuple[str, str]:
    rng = random.Random(seed)
    return answer(question, "curt", rng), answer(question, "guess", rng)


def test_it_is_a_judge_and_knows_none_of_the_users() -> None:
    assert isinstance(panel(), Judge)
    weights = {user.weights for user in make_users()}
    assert not weights & {person.weights for person in PEOPLE}


@given(st.sampled_from(QUESTIONS), TEXT, TEXT)
async def test_asked_twice_it_says_the_same(question: ShopQuestion, a: str, b: str) -> None:
    asked = conversation(question)
    assert await panel().compare(asked, a, b) == await panel().compare(asked, a, b)


@given(st.sampled_from(QUESTIONS), TEXT)
async def test_equal_answers_are_a_tie(question: ShopQuestion, text: str) -> None:
    assert await panel().compare(conversation(question), text, text) == 0.5


async def test_what_is_no_question_of_the_shop_is_a_tie() -> None:
    assert await panel().compare([{"role": "user", "content": "Why?"}], "a", "b") == 0.5
    assert await panel().compare([], "a", "b") == 0.5


async def test_it_judges_by_the_last_user_turn_also_when_that_is_in_parts() -> None:
    question, earlier = QUESTIONS[0], QUESTIONS[200]
    typed = ask(question, random.Random(0))
    turns: list[dict[str, Any]] = [
        *conversation(earlier),
        {"role": "assistant", "content": "It is so."},
        {"role": "user", "content": [{"type": "text", "text": typed}]},
    ]
    good = answer(question, "helpful", random.Random(0))
    assert await panel().compare(turns, good, "Ugh, no idea.") == 1.0
    assert await panel().compare(turns, "Ugh, no idea.", good) == 0.0


async def test_without_a_bias_positions_do_not_matter_on_average() -> None:
    first = await first_position_rate(Panel(PEOPLE))
    assert first == pytest.approx(0.5, abs=0.03)


async def test_a_biased_panel_favours_what_it_sees_first() -> None:
    first = await first_position_rate(Panel(PEOPLE, position_bias=0.5))
    assert first > 0.56


async def test_it_mostly_agrees_with_a_clear_difference() -> None:
    said = []
    for number, question in enumerate(QUESTIONS):
        rng = random.Random(number)
        good, bad = answer(question, "helpful", rng), answer(question, "rude", rng)
        said.append(await panel().compare(conversation(question, number), good, bad))
    assert fmean(said) > 0.95


async def first_position_rate(judge: Panel) -> float:
    """How often the first answer wins, over both orders of many comparisons."""
    said = []
    for number, question in enumerate(QUESTIONS * 3):
        asked, (a, b) = conversation(question, number), answers(question, number)
        said += [await judge.compare(asked, a, b), await judge.compare(asked, b, a)]
    return fmean(said)
