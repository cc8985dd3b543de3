"""The texts of a pair or a label by which rows are compared. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from retrain.dataset.questions import message_text, normalise

_LENGTHS = ((200, "up to 200"), (800, "up to 800"), (3_200, "up to 3200"))
LONGEST = "over 3200"
"""The class of the longest texts, in characters like the others."""
SHINGLE = 8
"""Characters of a shingle."""
QUESTION_MAX = 2_000
ANSWER_MAX = 4_000
"""Characters of question and answers that are looked at, at most."""


@dataclass(frozen=True, slots=True)
class RowTexts:
    """The last question, and the answers with their roles (`good`, `bad`).

    They are shortened, and normalised only where they are compared: a snapshot keeps the texts of
    many more rows than it compares. `length` is the class of lengths of the question and the first
    answer, in characters.
    """

    question: str
    answers: tuple[tuple[str, str], ...]
    length: str

    @property
    def topic(self) -> str:
        """The normalised text that tells the topic: the question, else the first answer."""
        return normalise(self.spoken)

    @property
    def spoken(self) -> str:
        """The text that tells the language: the question, else the first answer."""
        return self.question or self.answers[0][1]

    def shingles(self) -> list[str]:
        """Return all shingles of the question and the answers, marked with their roles."""
        texts = (("question", self.question), *self.answers)
        return [
            f"{role}\0{shingle}" for role, text in texts for shingle in _shingles(normalise(text))
        ]

    def to_json(self) -> bytes:
        """Return the texts as one line of JSON."""
        return orjson.dumps([self.question, self.answers, self.length])

    @classmethod
    def from_json(cls, line: bytes) -> "RowTexts":
        """Return the texts of a line."""
        question, answers, length = orjson.loads(line)
        return cls(question, tuple((role, text) for role, text in answers), length)


def row_texts(
    messages: Sequence[Mapping[str, Any]] | None, answers: Sequence[tuple[str, str]]
) -> RowTexts:
    """Return the texts of a row.

    Args:
        messages: The conversation; None for a plain completion.
        answers: Role and text of each answer, the better one first.

    """
    asked = [message for message in messages or () if message.get("role") == "user"]
    question = message_text(asked[-1].get("content")) if asked else ""
    whole = len(question) + len(answers[0][1])
    length = next((name for limit, name in _LENGTHS if whole <= limit), LONGEST)
    shortened = tuple((role, text[:ANSWER_MAX]) for role, text in answers)
    return RowTexts(question[:QUESTION_MAX], shortened, length)


def _shingles(text: str) -> list[str]:
    return [text[start : start + SHINGLE] for start in range(max(1, len(text) - SHINGLE + 1))]
