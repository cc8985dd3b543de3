"""The utility of an answer to Bramblewick's users, a function of the text alone.

The hidden utility is used for the report's figures. The gate's judge is `panel.py`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from demo.shop.world import INTENTS, ShopQuestion
from demo.shop.world_text import HEDGE_WORDS, POLITE_WORDS, RUDE_WORDS, Style

FREE_WORDS = 20
"""Words beyond which an answer's length lowers its utility."""
LONG_STYLE_WORDS = 26
"""Beyond this many words an answer counts as of the long style."""


def _any_of(phrases: Sequence[str]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, phrases))})\b", re.IGNORECASE)


_POLITE, _RUDE, _HEDGE = _any_of(POLITE_WORDS), _any_of(RUDE_WORDS), _any_of(HEDGE_WORDS)


@dataclass(frozen=True, slots=True)
class Features:
    """The observable features of an answer. `words` is its number of words."""

    correct: bool
    polite: bool
    rude: bool
    hedge: bool
    words: int


@dataclass(frozen=True, slots=True)
class Weights:
    """The utility of each feature; `excess` is per word beyond `FREE_WORDS`."""

    correct: float = 2.0
    polite: float = 1.2
    rude: float = -2.0
    hedge: float = -0.8
    excess: float = -0.05
    empty: float = -2.0


HIDDEN = Weights()
"""The mean of the simulated users' weights."""


def is_rude(text: str) -> bool:
    """Return whether an answer contains a rude phrase."""
    return bool(_RUDE.search(text))


def features(question: ShopQuestion, text: str) -> Features:
    """Return the features of `text` as an answer to `question`.

    An answer is correct if it states the right value, no other value, and no other key of the
    intent.
    """
    return Features(
        correct=_is_correct(question, text),
        polite=bool(_POLITE.search(text)),
        rude=bool(_RUDE.search(text)),
        hedge=bool(_HEDGE.search(text)),
        words=len(text.split()),
    )


def utility(question: ShopQuestion, text: str, weights: Weights = HIDDEN) -> float:
    """Return the utility of an answer; an ideal one has 3.2."""
    seen = features(question, text)
    return (
        weights.correct * seen.correct
        + weights.polite * seen.polite
        + weights.rude * seen.rude
        + weights.hedge * seen.hedge
        + weights.excess * max(0, seen.words - FREE_WORDS)
        + weights.empty * (seen.words == 0)
    )


def style_of(question: ShopQuestion, text: str) -> Style:
    """Return the style, one of five, in which `text` is written."""
    seen = features(question, text)
    if seen.rude:
        return "rude"
    if seen.hedge:
        return "guess"
    if seen.words > LONG_STYLE_WORDS:
        return "long"
    return "helpful" if seen.polite else "curt"


def _is_correct(question: ShopQuestion, text: str) -> bool:
    stated = {found.casefold() for found in _values(question.intent).findall(text)}
    return stated == {question.truth.casefold()} and not _names_another_key(question, text)


def _names_another_key(question: ShopQuestion, text: str) -> bool:
    typed = text.casefold()
    keys = INTENTS[question.intent].text.keys
    return any(key.casefold() in typed for key in keys if key != question.key)


@cache
def _values(intent: str) -> re.Pattern[str]:
    return _any_of(INTENTS[intent].values)
