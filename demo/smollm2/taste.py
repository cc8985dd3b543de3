"""Score answers by the taste of the simulated users: plain, short, finished. Uses the text alone.

Nothing here asks whether an answer is true: a model of 135 million parameters is often wrong, and
what is measured is what the people vote by.
"""

import re
from dataclasses import dataclass

SHORTEST, FREE_WORDS = 5, 20
"""Answers with fewer words say too little; words beyond the second number lower the worth."""

_END = re.compile(r"[.!?][\"')\]]*\s*$")
_MARKUP = re.compile(r"^\s*(?:[-*#>]|\d+[.)])\s|\*\*|```|\|", re.MULTILINE)
_CHATTER = re.compile(
    r"\b(?:as an ai|language model|i'm sorry|i apologi[sz]e|i'd be happy|i'm happy|feel free|"
    r"great question|i hope this helps|here (?:are|is) (?:some|a few|a list|the steps))\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[a-z]{3,}")
_COMMON = frozenset(
    {
        *(
            "what",
            "does",
            "should",
            "make",
            "good",
            "with",
            "from",
            "have",
            "between",
            "difference",
        ),
        *("that", "when", "your", "this", "there", "which", "about", "into", "keep", "more"),
        *(
            "the",
            "and",
            "for",
            "you",
            "can",
            "how",
            "why",
            "are",
            "not",
            "but",
            "his",
            "her",
            "its",
        ),
        *("than", "some", "they", "them", "were", "will", "would", "could"),
    }
)
_STEM = 5
"""Letters by which two words count as the same: `clean` and `cleaning`."""


@dataclass(frozen=True, slots=True)
class AnswerTraits:
    """What can be seen of an answer. `related` means that it takes up a word of the question."""

    words: int
    finished: bool
    markup: bool
    chatter: bool
    related: bool


@dataclass(frozen=True, slots=True)
class TasteWeights:
    """The worth of each trait; `excess` is per word beyond `FREE_WORDS`."""

    finished: float = 1.6
    markup: float = -0.8
    chatter: float = -0.8
    related: float = 1.0
    excess: float = -0.03
    short: float = -1.5


PLAIN = TasteWeights()
"""The mean of all people's weights."""


def traits(question: str, text: str) -> AnswerTraits:
    """Return the traits of `text` as an answer to `question`."""
    return AnswerTraits(
        words=len(text.split()),
        finished=is_finished(text),
        markup=bool(_MARKUP.search(text)),
        chatter=bool(_CHATTER.search(text)),
        related=bool(_stems(question) & _stems(text)),
    )


def is_finished(text: str) -> bool:
    """Return whether an answer ends with the end of a sentence."""
    return bool(_END.search(text))


def worth(question: str, text: str, weights: TasteWeights = PLAIN) -> float:
    """Return the worth of an answer; the best is `finished` and `related` together."""
    seen = traits(question, text)
    return (
        weights.finished * seen.finished
        + weights.markup * seen.markup
        + weights.chatter * seen.chatter
        + weights.related * seen.related
        + weights.excess * max(0, seen.words - FREE_WORDS)
        + weights.short * (seen.words < SHORTEST)
    )


def _stems(text: str) -> frozenset[str]:
    words = _WORD.findall(text.casefold())
    return frozenset(word[:_STEM] for word in words if word not in _COMMON)
