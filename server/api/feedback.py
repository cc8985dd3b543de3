"""`POST /v1/feedback`, `DELETE /v1/feedback/{id}`, and `POST /v1/feedback-tokens` for browsers."""

from feedback.feedback_tokens import FeedbackGrant
from feedback.schemas import FeedbackIn, FeedbackStored, FeedbackTokenIn, FeedbackTokenOut
from server.api.dependencies import App, FeedbackPath, Here, Judge
from server.api.description.errors import errors
from server.api.routes import api_router

router = api_router("feedback")


@router.post("/v1/feedback", responses=errors(404, 409))
async def give_feedback(who: Judge, here: Here, body: FeedbackIn) -> FeedbackStored:
    """Rate an answer, or retract a rating (value null). Acknowledged only once it is durable."""
    if isinstance(who, FeedbackGrant):
        return FeedbackStored(feedback_id=await here.feedback.submit_by_token(who, body))
    identifier = await here.feedback.submit(who.tenant, who.key_id, body)
    return FeedbackStored(feedback_id=identifier)


@router.delete("/v1/feedback/{feedback_id:path}", responses=errors(404))
async def take_back(feedback_id: FeedbackPath, who: Judge, here: Here) -> FeedbackStored:
    """Retract a judgement. Acknowledged only once that is durable; repeating it is harmless."""
    if isinstance(who, FeedbackGrant):
        identifier = await here.feedback.take_back_by_token(who, feedback_id)
    else:
        identifier = await here.feedback.take_back(who.tenant, who.key_id, feedback_id)
    return FeedbackStored(feedback_id=identifier)


@router.post("/v1/feedback-tokens", responses=errors(404))
async def make_token(principal: App, here: Here, body: FeedbackTokenIn) -> FeedbackTokenOut:
    """Create a token for rating one answer, for a browser, which must not hold the key."""
    return here.feedback.token(principal.tenant, body)
