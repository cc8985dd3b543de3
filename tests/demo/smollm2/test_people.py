import random
from statistics import fmean

import pytest

from demo.smollm2.people import make_people, panel

pytestmark = pytest.mark.anyio

QUESTION = "How do I clean a burnt pan?"
GOOD, BAD = "Soak the pan in hot water, then scrub it.", "1. **Pans** are a kind of"


def test_people_prefer_what_they_like_and_sometimes_err() -> None:
    rng = random.Random(0)
    votes = [one.prefers(QUESTION, GOOD, BAD, rng) for one in make_people(40, seed=0) * 20]
    assert 0.9 < fmean(votes) < 0.98


async def test_the_panel_agrees_in_both_orders() -> None:
    asked = [{"role": "user", "content": QUESTION}]
    assert await panel().compare(asked, GOOD, BAD) == 1.0
    assert await panel().compare(asked, BAD, GOOD) == 0.0
    assert await panel().compare(asked, GOOD, GOOD) == 0.5


def test_people_are_the_same_for_the_same_seed_and_none_is_in_the_panel() -> None:
    assert make_people(3, seed=1) == make_people(3, seed=1)
    assert make_people(3, seed=1) != make_people(3, seed=2)
