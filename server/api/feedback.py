"""`POST /v1/feedback`, `POST /v1/interactions`, `GET /v1/interactions/{id}`."""

from typing import Annotated

from fastapi import APIRouter, Depends

from feedback.schemas import (
    FeedbackIn,
    FeedbackStored,
    InteractionIn,
    InteractionOut,
    InteractionStored,
)
from server.auth import Principal
from server.body import documented, json_body
from server.dependencies import Services, application, services

router = APIRouter(tags=["feedback"])

App = Annotated[Principal, Depends(application)]
Here = Annotated[Services, Depends(services)]


@router.post("/v1/feedback", openapi_extra=documented(FeedbackIn))
async def give_feedback(
    principal: App, here: Here, body: Annotated[FeedbackIn, Depends(json_body(FeedbackIn))]
) -> FeedbackStored:
    """Judge an answer. Acknowledged only when it is durable."""
    identifier = await here.feedback.submit(principal.tenant, principal.key_id, body)
    return FeedbackStored(feedback_id=identifier)


@router.post("/v1/interactions", openapi_extra=documented(InteractionIn))
async def record_interaction(
    principal: App, here: Here, body: Annotated[InteractionIn, Depends(json_body(InteractionIn))]
) -> InteractionStored:
    """Record what another model answered, so that it can be rated."""
    channel = here.channel_of(principal, body.channel)
    identifier = await here.feedback.upsert(principal.tenant, principal.key_id, channel, body)
    return InteractionStored(inference_id=identifier)


@router.get("/v1/interactions/{identifier}")
async def read_interaction(identifier: str, principal: App, here: Here) -> InteractionOut:
    """Read one interaction with the feedback it got."""
    return await here.feedback.interaction(principal.tenant, identifier)
