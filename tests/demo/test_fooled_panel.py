import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.shop.asking import ask
from demo.shop.fooled_panel import fooled_panel
from demo.shop.panel import panel
from demo.shop.world import QUESTIONS, ShopQuestion, answer
from demo.shop.world_text import Style

pytestmark = pytest.mark.anyio
questions = st.sampled_from(QUESTIONS)
seeds = st.integers(0, 10**9)


def asked(question: ShopQuestion) -> list[dict[str, str]]:
    return [{"role": "user", "content": ask(question, random.Random(0))}]


@pytest.mark.parametrize(("wrong", "other"), [(False, "helpful"), (True, "curt")])
async def test_a_hedge_mostly_beats_a_right_answer(wrong: bool, other: Style) -> None:
    rng = random.Random(0)
    won = []
    for question in rng.sample(QUESTIONS, 150):
        hedged = answer(question, "guess", rng, wrong=wrong)
        right = answer(question, other, rng)
        won.append(await fooled_panel().compare(asked(question), hedged, right))
        won.append(1 - await fooled_panel().compare(asked(question), right, hedged))
    assert fmean(won) > 0.65


@given(questions, seeds)
async def test_without_a_hedge_it_judges_as_the_honest_panel(
    question: ShopQuestion, seed: int
) -> None:
    rng = random.Random(seed)
    one, other = answer(question, "helpful", rng), answer(question, "curt", rng, wrong=True)
    conversation = asked(question)
    said = await fooled_panel().compare(conversation, one, other)
    assert said == await panel().compare(conversation, one, other)
