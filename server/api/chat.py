"""OpenAI's chat, completions and models endpoints, answered by vLLM's serving layer."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from feedback.names import user_problem
from server.api.dependencies import PURPOSE_HEADER, App, Here, ModelPath, Purpose
from server.api.description.errors import errors
from server.api.description.openai_requests import ChatBody, CompletionBody
from server.api.description.openai_responses import (
    ChatCompletion,
    Completion,
    ModelCard,
    ModelList,
    answered,
)
from server.api.routes import api_router
from server.auth.keys import Principal
from server.engine.base import Endpoint
from server.engine.requests.rules import with_whole_numbers
from server.errors import LeftOutError, LimitError
from server.services import Services
from server.serving.exchange import Mode

router = api_router("chat")

REFUSED = errors(404, 500)
"""The channel or version is unknown, or the engine failed."""
CHAT = answered(ChatCompletion, "a chat completion chunk")
COMPLETION = answered(Completion, "a text completion with a part of the text")


@router.post("/v1/chat/completions", responses={**CHAT, **REFUSED})
async def chat_completions(
    request: Request, principal: App, here: Here, body: ChatBody, purpose: Purpose = None
) -> Response:
    """Answer a conversation; `model` is a channel, or one version of it (`pawl@base`)."""
    return await _answer(request, "chat", body, principal, here, purpose)


@router.post("/v1/completions", responses={**COMPLETION, **REFUSED})
async def completions(
    request: Request, principal: App, here: Here, body: CompletionBody, purpose: Purpose = None
) -> Response:
    """Continue a text."""
    return await _answer(request, "completion", body, principal, here, purpose)


async def _answer(
    request: Request,
    endpoint: Endpoint,
    body: Mapping[str, Any],
    principal: Principal,
    here: Services,
    purpose: str | None,
) -> Response:
    return await here.serving.answer(
        request,
        endpoint=endpoint,
        body=checked_request(body, here),
        principal=principal,
        mode=_mode(purpose, principal),
    )


def checked_request(asked: Mapping[str, Any], here: Services) -> dict[str, Any]:
    """Check the model and user of a request, and return its body.

    `server.engine.requests.rules` checks the other fields. Raises `LimitError`.
    """
    body = with_whole_numbers(asked)
    if not isinstance(body.get("model"), str):
        raise LimitError("model", "must name a channel, such as 'pawl'")
    problem = user_problem(body.get("user"), here.settings.feedback.name_max)
    if problem is not None:
        raise LimitError("user", problem)
    return body


def _mode(purpose: str | None, principal: Principal) -> Mode:
    """Return the mode for the purpose header; raises `LimitError` for an unknown purpose.

    Only an administrator may mark requests as evaluation or counterpart, which runs themselves do.
    """
    match purpose:
        case None:
            return "live"
        case "background":
            return "background"
        case "evaluation" | "counterpart":
            principal.require("admin")
            return purpose
    purposes = "'background', 'evaluation' or 'counterpart'"
    raise LimitError(PURPOSE_HEADER, f"must be {purposes}, or be left out")


@router.post("/v1/responses", include_in_schema=False)
async def responses(principal: App) -> Response:
    """Refuse with a message: the Responses API is not supported."""
    del principal
    raise LeftOutError("the Responses API", "POST /v1/chat/completions")


@router.get("/v1/models", response_model=ModelList)
async def models(principal: App, here: Here) -> dict[str, Any]:
    """List the channels and the versions that can answer, adapters with `root` and `parent`."""
    return {"object": "list", "data": here.model_list(principal)}


@router.get("/v1/models/{model:path}", response_model=ModelCard, responses=errors(404))
async def model(model: ModelPath, principal: App, here: Here) -> dict[str, Any]:
    """Show one model of the list, by its id."""
    return here.model_card(principal, model)
