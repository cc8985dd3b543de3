"""Ask a model behind an OpenAI-compatible endpoint for JSON that satisfies a schema."""

import asyncio
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from common.retry import Sleep, with_retries
from retrain.config import ModelEndpoint
from retrain.errors import JudgeError, JudgeUnavailableError

Reply = TypeVar("Reply", bound=BaseModel)


class JsonEndpoint:
    """Asks an endpoint with `response_format` json_schema."""

    def __init__(
        self, endpoint: ModelEndpoint, client: httpx.AsyncClient, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._endpoint = endpoint
        self._client = client
        self._sleep = sleep

    async def ask(
        self,
        messages: list[dict[str, str]],
        reply: type[Reply],
        *,
        temperature: float = 0.0,
        max_tokens: int = 256,
    ) -> Reply:
        """Return the model's reply. Overload and malformed replies are retried with pauses.

        `temperature` and `max_tokens` are those of the request.

        Raises:
            JudgeUnavailableError: The last attempt met overload or a malformed reply.
            JudgeError: The endpoint refused the request.

        """
        body = _request(self._endpoint.model, messages, reply)
        body |= {"temperature": temperature, "max_tokens": max_tokens}
        return await with_retries(
            lambda: self._ask(body, reply),
            attempts=self._endpoint.attempts,
            retry_on=JudgeUnavailableError,
            sleep=self._sleep,
        )

    async def _ask(self, body: dict[str, Any], reply: type[Reply]) -> Reply:
        endpoint, key = self._endpoint, self._endpoint.api_key
        try:
            response = await self._client.post(
                f"{endpoint.base_url.rstrip('/')}/chat/completions",
                json=body,
                headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else {},
                timeout=endpoint.timeout,
            )
        except httpx.TransportError as error:
            raise JudgeUnavailableError(
                f"the endpoint of {endpoint.model} cannot be reached ({type(error).__name__}): "
                "is it running?"
            ) from error
        return _parsed(response, endpoint.model, reply)


def _request(model: str, messages: list[dict[str, str]], reply: type[BaseModel]) -> dict[str, Any]:
    schema = {"name": "verdict", "strict": True, "schema": reply.model_json_schema()}
    return {
        "model": model,
        "messages": messages,
        "response_format": {"type": "json_schema", "json_schema": schema},
    }


def _parsed(response: httpx.Response, model: str, reply: type[Reply]) -> Reply:
    status = response.status_code
    if status in (408, 409, 429) or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise JudgeUnavailableError(f"the endpoint of {model} is busy or broken (status {status})")
    if status != httpx.codes.OK:
        raise JudgeError(
            f"the endpoint of {model} refused the request (status {status}): check its address, "
            "model and key, and that it supports response_format json_schema"
        )
    try:
        return reply.model_validate_json(response.json()["choices"][0]["message"]["content"])
    except (ValueError, LookupError, TypeError) as error:
        raise JudgeUnavailableError(
            f"the reply of {model} does not match the JSON schema"
        ) from error
