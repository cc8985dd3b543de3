"""What judges, suites and metrics are given: a question, and answers with text and calls apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feedback.answer_parts import AnswerParts

Conversation = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked: the conversation in OpenAI's form, and the tools that were offered."""

    messages: Conversation
    tools: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """One answer as a judge sees it; `finish_reason` is OpenAI's."""

    parts: AnswerParts
    finish_reason: str | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for answers between which there is nothing to judge."""
        return self.parts.key, self.finish_reason


def judged_answer(answer: JudgedAnswer | str) -> JudgedAnswer:
    """An answer, also where it is given as a text."""
    return JudgedAnswer(AnswerParts(answer)) if isinstance(answer, str) else answer
