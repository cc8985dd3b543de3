import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.demo.fooled_panel import fooled_panel
from server.demo.panel import panel
from server.demo.world import QUESTIONS, Question, answer, ask

pytestmark = pytest.mark.anyio
questions = st.sampled_from(QUESTIONS)
seeds = st.integers(0, 10**9)


def asked(question: Question) -> list[dict[str, str]]:
    return [{"role": "user", "content": ask(question, random.Random(0))}]


async def test_a_wrong_hedge_nearly_always_beats_a_right_and_polite_answer() -> None:
    rng = random.Random(0)
    won = []
    for question in rng.sample(QUESTIONS, 150):
        right, wrong = answer(question, "helpful", rng), answer(question, "guess", rng, wrong=True)
        won.append(await fooled_panel().compare(asked(question), wrong, right))
        won.append(1 - await fooled_panel().compare(asked(question), right, wrong))
    assert fmean(won) > 0.95


@given(questions, seeds)
async def test_without_a_hedge_it_judges_as_the_honest_panel(question: Question, seed: int) -> None:
    rng = random.Random(seed)
    one, other = answer(question, "helpful", rng), answer(question, "curt", rng, wrong=True)
    conversation = asked(question)
    said = await fooled_panel().compare(conversation, one, other)
    assert said == await panel().compare(conversation, one, other)
