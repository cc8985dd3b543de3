"""Versions on their way to all users: `/v1/rollouts`."""

from typing import Annotated

from fastapi import APIRouter, Depends

from adapters.schemas import ReasonIn
from retrain.schemas import RolloutOut
from server.api.body import documented, json_body
from server.api.dependencies import administrator, services
from server.auth.keys import Principal
from server.services import Services
from server.settings import DEFAULT_CHANNEL

router = APIRouter(tags=["rollouts"])

Admin = Annotated[Principal, Depends(administrator)]
Here = Annotated[Services, Depends(services)]
Reason = Annotated[ReasonIn, Depends(json_body(ReasonIn))]
WITH_REASON = documented(ReasonIn)


@router.get("/v1/rollouts")
async def list_rollouts(
    principal: Admin, here: Here, channel: str = DEFAULT_CHANNEL
) -> list[RolloutOut]:
    """List a channel's rollouts, newest first, without their events."""
    rows = await here.runs.rollouts.rows.of_channel(here.own_channel(principal, channel))
    return [RolloutOut.of(row) for row in rows]


@router.get("/v1/rollouts/{version}")
async def read_rollout(version: str, principal: Admin, here: Here) -> RolloutOut:
    """Show a rollout: its phase, the online gate's numbers, and every decision."""
    await here.own_version(principal, version)
    rows = here.runs.rollouts.rows
    return RolloutOut.of(await rows.get(version), await rows.events(version))


@router.post("/v1/rollouts/{version}/approve", openapi_extra=WITH_REASON)
async def approve(version: str, principal: Admin, here: Here, body: Reason) -> RolloutOut:
    """Let a version through that waits for a person's word."""
    await here.own_version(principal, version)
    rollouts = here.runs.rollouts
    return RolloutOut.of(await rollouts.approve(version, actor=principal.name, reason=body.reason))


@router.post("/v1/rollouts/{version}/refuse", openapi_extra=WITH_REASON)
async def refuse(version: str, principal: Admin, here: Here, body: Reason) -> RolloutOut:
    """End a rollout: what was live before answers everybody."""
    await here.own_version(principal, version)
    rollouts = here.runs.rollouts
    return RolloutOut.of(await rollouts.refuse(version, actor=principal.name, reason=body.reason))
