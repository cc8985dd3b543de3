"""A reader of next messages for tests."""

from collections.abc import Mapping, Sequence
from typing import Any

from feedback.answer_parts import AnswerParts
from retrain.errors import JudgeError

THANKS = "thanks"


class StubReader:
    """Accepts what thanks, rejects what says no, and fails on what is odd."""

    def __init__(self) -> None:
        self.read_texts: list[str] = []

    async def read(
        self, conversation: Sequence[Mapping[str, Any]], answer: AnswerParts, message: str
    ) -> float:
        assert conversation
        assert answer.text
        self.read_texts.append(message)
        if message == "odd":
            raise JudgeError("no verdict")
        return {THANKS: 1.0, "no": -1.0, "hm": 0.0}[message]
