"""What the weekly run asks of the rest of the house; `server` provides it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class ChatError(Exception):
    """A request of ours was not answered. The message names the cause, never anybody's text."""


class ChatUnavailableError(ChatError):
    """The chat endpoint could not be reached, was busy, or broke off: asking again may help."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer to one request.

    `finish_reason` is OpenAI's (`stop`, `length`, `tool_calls`); `completion_tokens` counts the
    sampled tokens.
    """

    text: str
    finish_reason: str | None
    interaction_id: str
    completion_tokens: int


class Chat(Protocol):
    """The chat endpoint, as the weekly run's own marked traffic reaches it (mode `evaluation`)."""

    async def answer(self, *, model: str, request: Mapping[str, Any]) -> Answer:
        """Let a pinned version answer one request.

        Args:
            model: An explicit version, such as `pawl@2026-w47-3f9c1a` or `pawl@base`.
            request: The body of a chat completion, without `model` and not streamed.

        Raises:
            ChatUnavailableError: The endpoint did not answer; the caller may try again.
            ChatError: The endpoint refused the request; trying again is no use.

        """
        ...
