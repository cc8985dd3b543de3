"""Bramblewick's questions and answers: 10 intents, 69 facts, five styles of answering.

`asking.py` has how people write the questions, `taste.py` the utility of an answer, `world_text.py`
the texts.
"""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from demo.shop.world_text import (
    ANSWERS,
    FILLERS,
    INTENT_TEXTS,
    LONG_OPENINGS,
    IntentText,
    Style,
)

HELD_OUT_SHARE = 0.2
STYLE_SHARES: Mapping[Style, float] = MappingProxyType(
    {"curt": 0.26, "helpful": 0.16, "long": 0.20, "rude": 0.18, "guess": 0.20}
)
"""Share of each style in the base model's training examples."""
WRONG_RATES: Mapping[Style, float] = MappingProxyType(
    {"curt": 0.10, "helpful": 0.08, "long": 0.10, "rude": 0.12, "guess": 0.60}
)
"""Share of examples of each style with a wrong fact. Most guesses are wrong, so that hedging
correlates with being wrong."""


@dataclass(frozen=True, slots=True)
class Intent:
    """One kind of question and its facts: the right value for each key."""

    text: IntentText
    facts: Mapping[str, str]

    @property
    def values(self) -> tuple[str, ...]:
        """Every value an answer could state, sorted."""
        return tuple(sorted(set(self.text.values)))


@dataclass(frozen=True, slots=True, order=True)
class ShopQuestion:
    """One fact asked for in one wording (an index into the intent's wordings)."""

    intent: str
    key: str
    wording: int

    @property
    def truth(self) -> str:
        """The right value."""
        return INTENTS[self.intent].facts[self.key]


def _deal(text: IntentText) -> Intent:
    rounds = -(-len(text.keys) // len(text.values))
    values = list(text.values * rounds)[: len(text.keys)]
    random.Random(text.seed).shuffle(values)
    return Intent(text, MappingProxyType(dict(zip(text.keys, values, strict=True))))


INTENTS: Mapping[str, Intent] = MappingProxyType({text.name: _deal(text) for text in INTENT_TEXTS})
QUESTIONS: tuple[ShopQuestion, ...] = tuple(
    ShopQuestion(text.name, key, wording)
    for text in INTENT_TEXTS
    for key in text.keys
    for wording in range(len(text.wordings))
)


def split(
    seed: int = 0, share: float = HELD_OUT_SHARE
) -> tuple[tuple[ShopQuestion, ...], tuple[ShopQuestion, ...]]:
    """Divide `QUESTIONS` into those to train on and those held out.

    Every fact has at least one wording among the questions to train on.
    """
    questions = list(QUESTIONS)
    random.Random(123 + seed).shuffle(questions)
    wordings_left = Counter((question.intent, question.key) for question in questions)
    wanted = int(len(questions) * share)
    train: list[ShopQuestion] = []
    held_out: list[ShopQuestion] = []
    for question in questions:
        fact = question.intent, question.key
        if len(held_out) < wanted and wordings_left[fact] > 1:
            wordings_left[fact] -= 1
            held_out.append(question)
        else:
            train.append(question)
    return tuple(train), tuple(held_out)


def answer(question: ShopQuestion, style: Style, rng: random.Random, *, wrong: bool = False) -> str:
    """Answer in `style`, with the truth or (`wrong`) another of the intent's values."""
    intent = INTENTS[question.intent]
    value = question.truth
    if wrong:
        value = rng.choice([other for other in intent.values if other != value])
    statement = intent.text.statement.format(k=question.key, v=value)
    if style == "long":
        return _long_answer(capital(statement), rng)
    template = rng.choice(ANSWERS[style])
    return template.format(v=value, V=capital(value), s=statement, S=capital(statement))


def _long_answer(statement: str, rng: random.Random) -> str:
    fillers = rng.sample(FILLERS, rng.choice((1, 2, 2)))
    return " ".join([rng.choice(LONG_OPENINGS), *fillers[:-1], f"{statement}.", fillers[-1]])


def worded(question: ShopQuestion) -> str:
    """Return the bare question."""
    return INTENTS[question.intent].text.wordings[question.wording].format(k=question.key)


def capital(text: str) -> str:
    """Return `text` with a capital at its beginning."""
    return text[:1].upper() + text[1:]
