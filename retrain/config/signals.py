"""`[retrain.signals]`: what users do, without a button, becomes labels of answers."""

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from common.settings import FunctionSpec, Seconds, Section
from retrain.config.judge import ModelEndpoint
from retrain.config.types import Positive, Share

DEFAULT_GUIDE = """\
asks_again: the user repeats the question, since the answer did not help. corrects: the user says \
that the answer is wrong, or complains about it. thanks: the user thanks, praises or accepts the \
answer. neutral: anything else, such as a new question."""


class ReaderEndpoint(ModelEndpoint):
    """A model that reads users' next messages, behind an OpenAI-compatible endpoint."""

    guide: str = Field(default=DEFAULT_GUIDE, min_length=1)
    """What each verdict means; part of the model's system prompt."""


class SignalsConfig(Section):
    """What users do, without a button, becomes labels of answers. Off by default.

    Such labels are weak, so their weights should be well below 1. A person's explicit judgement of
    an answer replaces them. Users are told apart by the request's `user`, or else by the beginning
    of the conversation.
    """

    model_config = ConfigDict(frozen=True)

    repeated: Share = 0.0
    """Weight of a question that the same user asked again and that was answered differently: the
    first answer is bad, the second good if the conversation goes on from it. 0: not used."""
    next_message: Share = 0.0
    """Weight of what the user wrote next: `reader` reads whether it praises or rejects the answer
    before it. 0: not used."""
    reader: Literal["judge"] | FunctionSpec | ReaderEndpoint | None = None
    """What reads the next messages. An endpoint (`[retrain.signals.reader]`) that supports
    `response_format` json_schema, `judge` for that of `[retrain.judge]`, or `module:name` of a
    function `read(conversation, answer, message)`, async or not, that returns -1 (rejected) to 1
    (accepted), 0 if the message says nothing about the answer, within 300 seconds. Required where
    `next_message` is above 0."""
    within_seconds: Seconds = Field(default=3_600, gt=0)
    """Seconds between a request and the one that follows it, at most. A question that is asked
    again a week later says nothing about the first answer."""
    messages: Positive = 2_000
    """Messages that are read per run, at most. The rest is counted as `unread`."""
    seconds: Seconds = Field(default=1_800, gt=0)
    """Seconds per run after which no further message is read."""
    concurrency: Positive = 4
    """Messages that are read concurrently, at most."""

    @property
    def used(self) -> bool:
        """Whether any of the signals has a weight."""
        return self.repeated > 0 or self.next_message > 0

    @model_validator(mode="after")
    def _can_read(self) -> Self:
        if self.next_message > 0 and self.reader is None:
            raise ValueError(
                "next_message needs a reader: an endpoint, module:name of a function, or judge"
            )
        return self
