"""Chats that the demo's base model is trained on: how people ask, and answers good and bad."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from demo.shop.asking import ask
from demo.shop.world import STYLE_SHARES, WRONG_RATES, ShopQuestion, answer
from demo.shop.world_text import Style


@dataclass(frozen=True, slots=True)
class ShopChat:
    """A question as it was typed, and an answer to it."""

    question: ShopQuestion
    asked: str
    answer: str
    style: Style


def chats(count: int, questions: Sequence[ShopQuestion], rng: random.Random) -> Iterator[ShopChat]:
    """Draw `count` training examples of the base model, with styles and errors at their rates."""
    styles, shares = list(STYLE_SHARES), list(STYLE_SHARES.values())
    for _ in range(count):
        question = rng.choice(questions)
        style = rng.choices(styles, shares)[0]
        wrong = rng.random() < WRONG_RATES[style]
        yield ShopChat(
            question, ask(question, rng), answer(question, style, rng, wrong=wrong), style
        )
