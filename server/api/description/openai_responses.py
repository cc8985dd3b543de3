"""OpenAI's response bodies, for the OpenAPI schema only: vLLM writes them and adds fields."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from server.api.description.errors import Responses


class _Open(BaseModel):
    """An object that may have further fields."""

    model_config = ConfigDict(extra="allow")


class Usage(_Open):
    """Counts of tokens."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int | None = None


class AnswerMessage(_Open):
    """The assistant's message; may have `tool_calls` and `reasoning`."""

    role: str
    content: str | None = None


class ChatChoice(_Open):
    """One answer."""

    index: int
    message: AnswerMessage
    finish_reason: str | None = None


class TextChoice(_Open):
    """One continuation."""

    index: int
    text: str
    finish_reason: str | None = None


class _Answer(_Open):
    """`id` is the interaction's id, which feedback refers to; `model` the version that answered."""

    id: str
    created: int
    model: str
    usage: Usage | None = None


class ChatCompletion(_Answer):
    """OpenAI's chat completion."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class Completion(_Answer):
    """OpenAI's text completion."""

    object: Literal["text_completion"]
    choices: list[TextChoice]


class ComparisonSide(BaseModel):
    """One of two answers, without its version."""

    side: Literal["a", "b"]
    interaction: str
    response: ChatCompletion


class ComparisonResponse(BaseModel):
    """Two answers to one request, in random order."""

    id: str
    object: Literal["comparison"]
    channel: str
    sides: list[ComparisonSide]


class ModelCard(BaseModel):
    """A channel or version. `root` is what answers; `parent` is an adapter's base model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: str | None
    max_model_len: int


class ModelList(BaseModel):
    """OpenAI's list of models."""

    object: Literal["list"]
    data: list[ModelCard]


_HEADERS: Mapping[str, str] = {
    "x-pawl-interaction": "The interaction's id; equals `id` in the body and in every chunk.",
    "x-pawl-version": "The version that answered: base or a name.",
    "x-pawl-role": "live, canary, holdback (the version before) or pinned (the request named it).",
}
_STREAM = (
    "With `stream`: server-sent events. Each is `data: ` and {one}, and the last `data: [DONE]`. "
    "A stream that fails on the way has an error object before it."
)


def answered(model: type[BaseModel], chunk: str, *, version_shown: bool = True) -> Responses:
    """Return `responses` for a route that answers as JSON or as a stream.

    Args:
        model: The JSON body.
        chunk: What an event of the stream holds.
        version_shown: Whether headers show the version that answered.

    """
    stream = {"schema": {"type": "string", "description": _STREAM.format(one=chunk)}}
    headers = {
        name: {"description": what, "schema": {"type": "string"}}
        for name, what in _HEADERS.items()
        if version_shown
    }
    return {
        200: {
            "description": "The answer.",
            "model": model,
            "content": {"text/event-stream": stream},
            "headers": headers,
        }
    }
