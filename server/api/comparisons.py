"""`POST /v1/comparisons`: two answers to one request, without their versions."""

from typing import Any, get_args

from fastapi import Request, Response

from adapters.routing.comparison import Between
from server.api.chat import checked_request
from server.api.dependencies import PURPOSE_HEADER, App, Here
from server.api.description.errors import errors
from server.api.description.openai_requests import ComparisonBody
from server.api.description.openai_responses import ComparisonResponse, answered
from server.api.routes import api_router
from server.errors import LimitError

router = api_router("chat")

COMPARISON = answered(
    ComparisonResponse,
    '`{"side": "a", "chunk": …}`, the chunk a chat completion\'s',
    version_shown=False,
)


@router.post("/v1/comparisons", responses={**COMPARISON, **errors(404, 409, 500)})
async def compare(request: Request, principal: App, here: Here, asked: ComparisonBody) -> Response:
    """Answer a conversation twice; vote for a side with the metric `preference`."""
    body = checked_request(asked, here)
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
