"""`POST /v1/comparisons`: two answers to one request, blind."""

from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, Request, Response

from adapters.routing.comparison import Between
from server.api.chat import PURPOSE_HEADER, read_request
from server.api.dependencies import application, services
from server.auth.keys import Principal
from server.errors import LimitError
from server.services import Services

router = APIRouter(tags=["chat"])

App = Annotated[Principal, Depends(application)]
Here = Annotated[Services, Depends(services)]


@router.post("/v1/comparisons")
async def compare(request: Request, principal: App, here: Here) -> Response:
    """Answer a conversation twice; rate with a `preference` for one side over the other."""
    body = await read_request(request, here)
    between = _between(body.pop("between", None))
    if "@" in body["model"]:
        raise LimitError("model", "must name a channel alone: the versions are not told")
    if PURPOSE_HEADER in request.headers:
        raise LimitError(PURPOSE_HEADER, "comparisons are for people: leave it out")
    return await here.comparisons.answer(request, body=body, between=between, principal=principal)


def _between(value: Any) -> Between | None:
    for known in get_args(Between):
        if value == known:
            found: Between = known
            return found
    if value is not None:
        raise LimitError("between", f"must be one of {', '.join(get_args(Between))}")
    return None
