"""Input of judges, suites and metrics: a question, and answers as text and tool calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feedback.answer_parts import AnswerParts

Conversation = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Question:
    """A question: the conversation in OpenAI's format, and the tools that may be called."""

    messages: Conversation
    tools: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """One answer as a judge sees it; `finish_reason` is OpenAI's."""

    parts: AnswerParts
    finish_reason: str | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """A key that is equal for answers that need no comparison, since they are the same."""
        return self.parts.key, self.finish_reason


def judged_answer(answer: JudgedAnswer | str) -> JudgedAnswer:
    """Return the answer; a string is an answer with that text and no calls."""
    return JudgedAnswer(AnswerParts(answer)) if isinstance(answer, str) else answer
