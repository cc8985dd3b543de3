"""Chat, completions and models, as OpenAI has them: vLLM's own serving layer answers."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from feedback.names import user_problem
from server.api.body import read_object
from server.api.dependencies import application, services
from server.auth.keys import Principal
from server.engine.base import Endpoint
from server.engine.requests.rules import with_whole_numbers
from server.errors import LeftOutError, LimitError
from server.services import Services
from server.serving.exchange import Mode

PURPOSE_HEADER = "x-pawl-purpose"
router = APIRouter(tags=["chat"])

App = Annotated[Principal, Depends(application)]
Here = Annotated[Services, Depends(services)]


@router.post("/v1/chat/completions")
async def chat_completions(request: Request, principal: App, here: Here) -> Response:
    """Answer a conversation; `model` is a channel, or one version of it (`pawl@base`)."""
    return await _answer(request, "chat", principal, here)


@router.post("/v1/completions")
async def completions(request: Request, principal: App, here: Here) -> Response:
    """Continue a text."""
    return await _answer(request, "completion", principal, here)


async def _answer(
    request: Request, endpoint: Endpoint, principal: Principal, here: Services
) -> Response:
    body = await read_request(request, here)
    return await here.serving.answer(
        request,
        endpoint=endpoint,
        body=body,
        principal=principal,
        mode=_mode(request, principal),
    )


async def read_request(request: Request, here: Services) -> dict[str, Any]:
    """The body of a request that names a model, and a user whom the log can keep.

    What else it may ask for is the engine's rule.
    """
    body = with_whole_numbers(await read_object(request))
    if not isinstance(body.get("model"), str):
        raise LimitError("model", "must name a channel, such as 'pawl'")
    problem = user_problem(body.get("user"), here.settings.feedback.name_max)
    if problem is not None:
        raise LimitError("user", problem)
    return body


def _mode(request: Request, principal: Principal) -> Mode:
    """What the request is for, as its sender marks it; raises `LimitError` for an unknown mark.

    Only an administrator may mark traffic as our own evaluation.
    """
    purpose = request.headers.get(PURPOSE_HEADER)
    if purpose is None:
        return "live"
    if purpose == "background":
        return "background"
    if purpose == "evaluation":
        principal.require("admin")
        return "evaluation"
    raise LimitError(PURPOSE_HEADER, "must be 'background' or 'evaluation', or be left out")


@router.post("/v1/responses")
async def responses(principal: App) -> Response:
    """Say that the Responses API is left out."""
    del principal
    raise LeftOutError("the Responses API", "POST /v1/chat/completions")


@router.get("/v1/models")
async def models(principal: App, here: Here) -> dict[str, Any]:
    """List the channels and the versions that can answer, adapters with `root` and `parent`."""
    return {"object": "list", "data": here.model_list(principal)}


@router.get("/v1/models/{model:path}")
async def model(model: str, principal: App, here: Here) -> dict[str, Any]:
    """One card of the list, by its id."""
    return here.model_card(principal, model)
