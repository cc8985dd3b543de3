"""OpenAI's answers, for the API's description: vLLM writes them, and adds fields of its own."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from server.api.errors import Responses


class _Open(BaseModel):
    """An object of which the fields that count are described."""

    model_config = ConfigDict(extra="allow")


class Usage(_Open):
    """Tokens read and written."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int | None = None


class AnswerMessage(_Open):
    """The assistant's turn; `tool_calls` and `reasoning` where there are any."""

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
    """`id` is the interaction's id: feedback names it. `model` is the version that answered."""

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
    """One of two answers; its version is not told."""

    side: Literal["a", "b"]
    interaction: str
    response: ChatCompletion


class Comparison(BaseModel):
    """Two answers to one request, in random order."""

    id: str
    object: Literal["comparison"]
    channel: str
    sides: list[ComparisonSide]


class ModelCard(BaseModel):
    """A channel or a version that can answer. `root` answers; `parent` is the base below it."""

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


def answered(model: type[BaseModel], chunk: str, *, told: bool = True) -> Responses:
    """`responses` of a route that answers as JSON or as a stream of `chunk`.

    `told` says whether headers tell who answered.
    """
    stream = {"schema": {"type": "string", "description": _STREAM.format(one=chunk)}}
    headers = {
        name: {"description": what, "schema": {"type": "string"}}
        for name, what in _HEADERS.items()
        if told
    }
    return {
        200: {
            "description": "The answer.",
            "model": model,
            "content": {"text/event-stream": stream},
            "headers": headers,
        }
    }
