"""Lets weekly runs use the chat endpoint of their own app, in process, as marked traffic."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import httpx
from fastapi import FastAPI

from feedback.answer_parts import AnswerParts
from retrain.ports import Answer, ChatError, ChatUnavailableError
from server.api.dependencies import PURPOSE_HEADER

TIMEOUT_SECONDS = 300.0
"""Seconds that one answer may take, so that a stuck one does not block a run for ever."""
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP statuses after which the run retries."""


class InternalChat:
    """Answers through the endpoint that users use. Implements `retrain.ports.Chat`.

    `purpose` is the mode with which the log records the requests.
    """

    def __init__(
        self,
        app: FastAPI,
        token: str,
        purpose: Literal["evaluation", "counterpart"] = "evaluation",
    ) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://127.0.0.1",
            headers={"authorization": f"Bearer {token}", PURPOSE_HEADER: purpose},
        )

    async def answer(self, *, model: str, request: Mapping[str, Any]) -> Answer:
        """Answer one prompt.

        Raises:
            ChatUnavailableError: If a retry may help.
            ChatError: If the endpoint refuses; the message holds the status, never a text.

        """
        body = {**request, "model": model, "stream": False}
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):  # httpx's ASGI transport has none
                response = await self._client.post("/v1/chat/completions", json=body)
        except TimeoutError:
            raise ChatUnavailableError(f"no answer within {TIMEOUT_SECONDS:g} seconds") from None
        except httpx.HTTPError as error:
            raise ChatUnavailableError(f"no answer: {type(error).__name__}") from None
        if response.is_success:
            return _answer(response.json())
        kind = ChatUnavailableError if response.status_code in RETRIED else ChatError
        raise kind(f"the chat endpoint answered {response.status_code}")

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()


class YieldingChat:
    """A chat that asks only while there is capacity for it. Implements `retrain.ports.Chat`.

    Args:
        chat: Answers.
        until_light: Returns once few users' answers are in progress.

    """

    def __init__(self, chat: InternalChat, until_light: Callable[[], Awaitable[None]]) -> None:
        self._chat = chat
        self._until_light = until_light

    async def answer(self, *, model: str, request: Mapping[str, Any]) -> Answer:
        """Wait for capacity, then answer; raises as `InternalChat.answer` does."""
        await self._until_light()
        return await self._chat.answer(model=model, request=request)


def _answer(body: Mapping[str, Any]) -> Answer:
    choice = body["choices"][0]
    parts = AnswerParts.of(choice["message"])
    return Answer(
        text=parts.content,
        finish_reason=choice["finish_reason"],
        interaction_id=body["id"],
        completion_tokens=body["usage"]["completion_tokens"],
        calls=parts.calls,
        refusal=parts.refusal,
    )
