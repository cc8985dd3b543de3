"""Rollouts of new versions: `/v1/rollouts`, `/v1/budget`."""

from adapters.schemas import ReasonIn
from retrain.schemas import BudgetOut, RolloutOut
from server.api.dependencies import Admin, ChannelQuery, Here, VersionPath
from server.api.description.errors import errors
from server.api.routes import api_router
from server.settings import DEFAULT_CHANNEL

router = api_router("rollouts")

NOT_FOUND = errors(404)
NOT_CHANGED = errors(404, 409)


@router.get("/v1/rollouts", responses=NOT_FOUND)
async def list_rollouts(
    principal: Admin, here: Here, channel: ChannelQuery = DEFAULT_CHANNEL
) -> list[RolloutOut]:
    """List a channel's rollouts, newest first, without their events."""
    rows = await here.runs.rollouts.rows.of_channel(here.own_channel(principal, channel))
    return [RolloutOut.of(row) for row in rows]


@router.get("/v1/budget", responses=NOT_FOUND)
async def read_budget(
    principal: Admin, here: Here, channel: ChannelQuery = DEFAULT_CHANNEL
) -> BudgetOut:
    """Show a channel's yearly budget of false promotions, and what is left of it."""
    return await here.runs.rollouts.budget_of(here.own_channel(principal, channel))


@router.get("/v1/rollouts/{version}", responses=NOT_FOUND)
async def read_rollout(version: VersionPath, principal: Admin, here: Here) -> RolloutOut:
    """Show a rollout: its phase, the online gate's numbers, and every decision."""
    await here.own_version(principal, version)
    rows = here.runs.rollouts.rows
    return RolloutOut.of(await rows.get(version), await rows.events(version))


@router.post("/v1/rollouts/{version}/approve", responses=NOT_CHANGED)
async def approve(version: VersionPath, principal: Admin, here: Here, body: ReasonIn) -> RolloutOut:
    """Approve a version that waits for approval."""
    await here.own_version(principal, version)
    rollouts = here.runs.rollouts
    return RolloutOut.of(await rollouts.approve(version, actor=principal.name, reason=body.reason))


@router.post("/v1/rollouts/{version}/refuse", responses=NOT_CHANGED)
async def refuse(version: VersionPath, principal: Admin, here: Here, body: ReasonIn) -> RolloutOut:
    """Abort a rollout: the version that was live before serves all users."""
    await here.own_version(principal, version)
    rollouts = here.runs.rollouts
    return RolloutOut.of(await rollouts.refuse(version, actor=principal.name, reason=body.reason))
