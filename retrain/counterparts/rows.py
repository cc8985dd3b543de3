"""What the step keeps of each question: the new answers, and what the judge said of them."""

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict

from feedback.answer_parts import AnswerParts, ToolCall
from feedback.reading.judgements import LoggedAnswer
from retrain.evaluation.answers import JudgedAnswer
from retrain.trainer.examples.rows import ServedTurn, TokenId

LENGTH = "length"
"""The finish reason of an answer that was cut off at its length limit."""


class ShownAnswer(BaseModel):
    """An answer as it was served, with the token ids of the engine.

    Attributes:
        interaction_id: The interaction in the log.
        prompt_token_ids: The prompt as the model received it.
        token_ids: The answer as the model sampled it.
        content: The text of the answer.
        calls: The tools that it called.
        refusal: The text of a refusal.
        finish_reason: OpenAI's (`stop`, `length`, `tool_calls`).
        turn: How the answer was requested and served, where a demonstration stands against it.

    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    interaction_id: str
    prompt_token_ids: list[TokenId]
    token_ids: list[TokenId]
    content: str = ""
    calls: list[ToolCall] = []
    refusal: str | None = None
    finish_reason: str | None = None
    turn: ServedTurn | None = None

    @classmethod
    def of(cls, answer: LoggedAnswer, turn: ServedTurn | None = None) -> Self | None:
        """Return an answer of the log; None if it is incomplete or its token ids are unknown."""
        if answer.status != "complete" or not answer.token_ids or not answer.prompt_token_ids:
            return None
        parts = answer.parts
        return cls(
            interaction_id=answer.interaction_id,
            prompt_token_ids=list(answer.prompt_token_ids),
            token_ids=list(answer.token_ids),
            content=parts.content,
            calls=list(parts.calls),
            refusal=parts.refusal,
            finish_reason=answer.finish_reason,
            turn=turn,
        )

    @property
    def parts(self) -> AnswerParts:
        """The answer's text, tool calls and refusal."""
        return AnswerParts(self.content, tuple(self.calls), self.refusal)

    @property
    def judged(self) -> JudgedAnswer:
        """The answer as a judge sees it."""
        return JudgedAnswer(self.parts, self.finish_reason)

    @property
    def truncated(self) -> bool:
        """Whether the answer was cut off at its length limit."""
        return self.finish_reason == LENGTH


class AnsweredQuestion(BaseModel):
    """One question, asked again.

    Attributes:
        id: The question's id (`QuestionToAsk.id`).
        rated: The answer that was rated; None if it is gone from the log.
        answers: The new answers, as far as they came and were logged.
        failed: Number of new answers that did not come, by error.
        seconds: Seconds that the step had asked for when this question was answered.

    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    rated: ShownAnswer | None = None
    answers: list[ShownAnswer] = []
    failed: dict[str, int] = {}
    seconds: float = 0.0

    def same_prompt(self, prompt_token_ids: Sequence[int]) -> list[ShownAnswer]:
        """Return the new answers to exactly this prompt."""
        wanted = list(prompt_token_ids)
        return [answer for answer in self.answers if answer.prompt_token_ids == wanted]


class JudgedQuestion(BaseModel):
    """What a judge said of a question's new answers, in the order of `comparable`.

    Each preference is for the new answer over the rated one, from 0 to 1; None without a verdict.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    judge: str
    preferences: list[float | None]
