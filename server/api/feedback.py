"""`POST /v1/feedback`, and the tokens with which browsers send it: `POST /v1/feedback-tokens`."""

from typing import Annotated

from fastapi import APIRouter, Depends

from feedback.feedback_tokens import FeedbackGrant
from feedback.schemas import FeedbackIn, FeedbackStored, FeedbackTokenIn, FeedbackTokenOut
from server.api.body import documented, json_body
from server.api.dependencies import application, judge, services
from server.auth.keys import Principal
from server.services import Services

router = APIRouter(tags=["feedback"])

App = Annotated[Principal, Depends(application)]
Judge = Annotated[Principal | FeedbackGrant, Depends(judge)]
Here = Annotated[Services, Depends(services)]


@router.post("/v1/feedback", openapi_extra=documented(FeedbackIn))
async def give_feedback(
    who: Judge, here: Here, body: Annotated[FeedbackIn, Depends(json_body(FeedbackIn))]
) -> FeedbackStored:
    """Judge an answer. Acknowledged only when it is durable."""
    if isinstance(who, FeedbackGrant):
        return FeedbackStored(feedback_id=await here.feedback.submit_by_token(who, body))
    identifier = await here.feedback.submit(who.tenant, who.key_id, body)
    return FeedbackStored(feedback_id=identifier)


@router.post("/v1/feedback-tokens", openapi_extra=documented(FeedbackTokenIn))
async def make_token(
    principal: App,
    here: Here,
    body: Annotated[FeedbackTokenIn, Depends(json_body(FeedbackTokenIn))],
) -> FeedbackTokenOut:
    """Give out leave to judge one answer, for a browser that must not hold the key."""
    return here.feedback.token(principal.tenant, body)
