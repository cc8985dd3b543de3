"""`POST /v1/interactions`, its `/batch`, and `GET /v1/interactions/{id}`."""

import asyncio
from collections.abc import Mapping
from typing import Any

from feedback.schemas import (
    InteractionIn,
    InteractionOut,
    InteractionRefused,
    InteractionsIn,
    InteractionsStored,
    InteractionStored,
    RowError,
)
from server.api.body import parsed
from server.api.dependencies import App, Here, InteractionPath
from server.api.description.errors import errors
from server.api.routes import api_router
from server.auth.keys import Principal
from server.error_status import field_of, status_of
from server.services import Services

router = api_router("feedback")

OUR_FAULT = 500


@router.post("/v1/interactions", responses=errors(404, 409))
async def record_interaction(principal: App, here: Here, body: InteractionIn) -> InteractionStored:
    """Record an answer of another model, so that it can be rated."""
    return await _record(principal, here, body)


@router.post("/v1/interactions/batch")
async def record_interactions(
    principal: App, here: Here, body: InteractionsIn
) -> InteractionsStored:
    """Record several answers; one that is refused does not affect the others."""
    rows = (_record_or_refuse(principal, here, row) for row in body.interactions)
    return InteractionsStored(results=await asyncio.gather(*rows))


@router.get("/v1/interactions/{identifier}", responses=errors(404))
async def read_interaction(
    identifier: InteractionPath, principal: App, here: Here
) -> InteractionOut:
    """Read one interaction with its feedback."""
    return await here.feedback.interaction(principal.tenant, identifier)


async def _record(
    principal: Principal, here: Services, reported: InteractionIn
) -> InteractionStored:
    channel = here.channel_of(principal, reported.channel)
    stored = await here.feedback.upsert(principal.tenant, principal.key_id, channel, reported)
    if reported.shadow and stored.new and reported.status == "complete":
        here.serving.answer_unseen(stored.id, channel, reported, principal)
    return InteractionStored(inference_id=stored.id)


async def _record_or_refuse(
    principal: Principal, here: Services, row: Mapping[str, Any]
) -> InteractionStored | InteractionRefused:
    try:
        return await _record(principal, here, parsed(InteractionIn, row))
    except Exception as error:
        status = status_of(error)
        if status is None or status >= OUR_FAULT:
            raise  # the whole request may be sent again
        return InteractionRefused(error=RowError(message=str(error), param=field_of(error)))
