"""Chat, completions and models, as OpenAI has them: vLLM's own serving layer answers."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from server.api.body import read_object
from server.api.dependencies import application, services
from server.api.limits import check_limits
from server.auth.keys import Principal
from server.config import LimitsConfig
from server.engine.base import Endpoint
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
    body = await read_request(request, here.settings.server.limits)
    return await here.serving.answer(
        request,
        endpoint=endpoint,
        body=body,
        principal=principal,
        mode=_mode(request, principal),
    )


async def read_request(request: Request, limits: LimitsConfig) -> dict[str, Any]:
    """The body of a request that names a model and keeps within the limits."""
    body = await read_object(request)
    if not isinstance(body.get("model"), str):
        raise LimitError("model", "must name a channel, such as 'pawl'")
    check_limits(body, limits)
    return body


def _mode(request: Request, principal: Principal) -> Mode:
    """Our own traffic is marked, and only an administrator can mark it (law 11)."""
    purpose = request.headers.get(PURPOSE_HEADER)
    if purpose is None:
        return "live"
    principal.require("admin")
    if purpose != "evaluation":
        raise LimitError(PURPOSE_HEADER, "must be 'evaluation' or be left out")
    return "evaluation"


@router.post("/v1/responses")
async def responses(principal: App) -> Response:
    """Say that the Responses API is left out."""
    del principal
    raise LeftOutError("the Responses API", "POST /v1/chat/completions")


@router.get("/v1/models")
async def models(principal: App, here: Here) -> dict[str, Any]:
    """List the channels and the versions that can answer, adapters with `root` and `parent`."""
    return {"object": "list", "data": here.model_list(principal)}
