"""Bramblewick's questions and answers: 10 intents, 69 facts, five styles of answering.

`taste.py` has the utility of an answer, `world_text.py` the texts.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from types import MappingProxyType

from demo.shop.world_text import (
    ANSWERS,
    CLOSINGS,
    FILLERS,
    INTENT_TEXTS,
    LONG_OPENINGS,
    OPENINGS,
    IntentText,
    Style,
)

HELD_OUT_SHARE = 0.2
NO_OPENING, NO_CLOSING = 0.25, 0.35
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


@dataclass(frozen=True, slots=True)
class ShopChat:
    """A question as it was typed, and an answer to it."""

    question: ShopQuestion
    asked: str
    answer: str
    style: Style


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


def ask(question: ShopQuestion, rng: random.Random) -> str:
    """Return the text of `question`, with or without a greeting and a closing."""
    opening = "" if rng.random() < NO_OPENING else rng.choice(OPENINGS[1:])
    closing = "" if rng.random() < NO_CLOSING else rng.choice(CLOSINGS[1:])
    return _capital(opening + _worded(question) + closing)


def phrasings(question: ShopQuestion) -> Iterator[str]:
    """Yield every text that `ask` can return for `question`; all differ."""
    for opening, closing in product(OPENINGS, CLOSINGS):
        yield _capital(opening + _worded(question) + closing)


def question_of(text: str) -> ShopQuestion | None:
    """Return the question that `text` asks, or None if `ask` cannot return that text.

    Ignores case and white space.
    """
    typed = _plain(text)
    known = _questions_by_wording()
    for opening in OPENINGS:
        for closing in CLOSINGS:
            if typed.startswith(opening) and typed.endswith(closing):
                found = known.get(typed[len(opening) : len(typed) - len(closing)])
                if found is not None:
                    return found
    return None


def answer(question: ShopQuestion, style: Style, rng: random.Random, *, wrong: bool = False) -> str:
    """Answer in `style`, with the truth or (`wrong`) another of the intent's values."""
    intent = INTENTS[question.intent]
    value = question.truth
    if wrong:
        value = rng.choice([other for other in intent.values if other != value])
    statement = intent.text.statement.format(k=question.key, v=value)
    if style == "long":
        return _long_answer(_capital(statement), rng)
    template = rng.choice(ANSWERS[style])
    return template.format(v=value, V=_capital(value), s=statement, S=_capital(statement))


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


def _long_answer(statement: str, rng: random.Random) -> str:
    fillers = rng.sample(FILLERS, rng.choice((1, 2, 2)))
    return " ".join([rng.choice(LONG_OPENINGS), *fillers[:-1], f"{statement}.", fillers[-1]])


def _worded(question: ShopQuestion) -> str:
    return INTENTS[question.intent].text.wordings[question.wording].format(k=question.key)


@cache
def _questions_by_wording() -> Mapping[str, ShopQuestion]:
    return {_plain(_worded(question)): question for question in QUESTIONS}


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
