"""How people write to the shop: each question in words of its own, with names and order numbers.

What is asked stays one of the shop's questions (`world.QUESTIONS`), so that its right answer is
known.
"""

import random
from collections.abc import Mapping, Sequence
from functools import cache

from demo.shop.asking_text import (
    CLOSINGS,
    FIRST_NAMES,
    INTRODUCTIONS,
    LAST_NAMES,
    OCCASIONS,
    OPENINGS,
    SIGNATURES,
)
from demo.shop.world import QUESTIONS, ShopQuestion, capital, worded

PERSONAL = (INTRODUCTIONS, OCCASIONS, SIGNATURES)
"""The parts that hold a name or a number. A text has at least one of them."""
LEFT_OUT = 0.4
"""Share of the texts that lack a part, such as the greeting."""


def ask(question: ShopQuestion, rng: random.Random) -> str:
    """Return the text of `question` as one person writes it."""
    introduction, occasion, signature = _personal(rng)
    before = introduction + (capital(occasion) if introduction else occasion)
    opening, closing = _some(OPENINGS, rng), _some(CLOSINGS, rng)
    asked = worded(question)
    text = opening + before + (capital(asked) if before else asked) + closing + signature
    return capital(text)


def question_of(text: str) -> ShopQuestion | None:
    """Return the question that `text` asks, or None if it asks none of the shop's.

    It is the longest wording that the text contains; case and white space do not matter.
    """
    typed = _plain(text)
    found = [asked for asked in _questions_by_wording() if asked in typed]
    return _questions_by_wording()[max(found, key=len)] if found else None


def _personal(rng: random.Random) -> tuple[str, str, str]:
    """Return introduction, occasion and signature, of which at least one is not empty."""
    while True:
        introduction, occasion, signature = (_filled(_some(part, rng), rng) for part in PERSONAL)
        if introduction or occasion or signature:
            return introduction, occasion, signature


def _some(part: Sequence[str], rng: random.Random) -> str:
    return part[0] if rng.random() < LEFT_OUT else rng.choice(part[1:])


def _filled(text: str, rng: random.Random) -> str:
    name = f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"
    return text.format(n=name, o=rng.randrange(10_000, 100_000))


@cache
def _questions_by_wording() -> Mapping[str, ShopQuestion]:
    return {_plain(worded(question)): question for question in QUESTIONS}


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
