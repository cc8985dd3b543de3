"""What writes questions: the live version, or a model behind an endpoint."""

from typing import Protocol, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from retrain.config import ModelEndpoint
from retrain.errors import JudgeError
from retrain.evaluation.endpoint import JsonEndpoint
from retrain.ports import Chat, ChatError
from retrain.synthetic.prompts import Prompt

Reply = TypeVar("Reply", bound=BaseModel)
TEMPERATURE = 1.0
"""High, so that the questions differ."""
TOKENS_MAX = 1_024


class WriterError(Exception):
    """The writer gave no usable reply. The message does not quote any text."""


class Writer(Protocol):
    """Replies to a prompt with JSON that satisfies a schema."""

    async def ask(self, prompt: Prompt, reply: type[Reply]) -> Reply:
        """Return the reply. Raises `WriterError` if there is none."""
        ...


class LiveWriter:
    """The version that was live when the snapshot was taken, by its name at the chat endpoint."""

    def __init__(self, chat: Chat, model: str) -> None:
        self._chat, self._model = chat, model

    async def ask(self, prompt: Prompt, reply: type[Reply]) -> Reply:
        """See `Writer`."""
        schema = {"name": "reply", "strict": True, "schema": reply.model_json_schema()}
        request = {
            "messages": prompt,
            "temperature": TEMPERATURE,
            "max_tokens": TOKENS_MAX,
            "response_format": {"type": "json_schema", "json_schema": schema},
        }
        try:
            answer = await self._chat.answer(model=self._model, request=request)
            return reply.model_validate_json(answer.text)
        except ChatError as error:
            raise WriterError(f"the live version did not answer ({error})") from error
        except ValidationError as error:
            raise WriterError("the live version's reply does not match the schema") from error


class EndpointWriter:
    """A model behind an OpenAI-compatible endpoint."""

    def __init__(self, endpoint: ModelEndpoint, client: httpx.AsyncClient) -> None:
        self._endpoint = JsonEndpoint(endpoint, client)

    async def ask(self, prompt: Prompt, reply: type[Reply]) -> Reply:
        """See `Writer`."""
        try:
            return await self._endpoint.ask(
                prompt, reply, temperature=TEMPERATURE, max_tokens=TOKENS_MAX
            )
        except JudgeError as error:
            raise WriterError(str(error)) from error
