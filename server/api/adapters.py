"""Versions and routes: `/v1/adapters`, `/v1/route`, `/v1/rollback`."""

import asyncio
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from adapters.schemas import EventOut, ReasonIn, RouteIn, RouteOut, VersionOut
from adapters.vetting.folder import left_files
from common.json_values import PlainText
from server.api.dependencies import Admin, ChannelQuery, Here, VersionPath
from server.api.errors import errors
from server.api.routes import api_router
from server.settings import DEFAULT_CHANNEL

router = api_router("adapters")

NOT_FOUND = errors(404)
NOT_CHANGED = errors(404, 409, 422)
"""No such version or channel; a state that does not allow it; a name that breaks a rule."""


class AdapterIn(BaseModel):
    """An adapter to bring in: a folder that PEFT wrote, on the server's machine."""

    model_config = ConfigDict(extra="forbid")

    path: PlainText = Field(min_length=1, max_length=4096)
    channel: PlainText = DEFAULT_CHANNEL


class AddedOut(VersionOut):
    """The new version. `left` names what else was in the folder: it was not taken over."""

    left: list[str]


class ChannelRouteIn(RouteIn, ReasonIn):
    """The whole route that is wanted for a channel, and why."""

    channel: PlainText = DEFAULT_CHANNEL


class RollbackIn(ReasonIn):
    """Which channel goes back, and why."""

    channel: PlainText = DEFAULT_CHANNEL


class SwapOut(BaseModel):
    """A change of who is live. `seconds` runs from the start of the load to the new route."""

    version: str
    previous: str
    seconds: float
    epoch: int


@router.get("/v1/adapters", responses=NOT_FOUND)
async def list_adapters(
    principal: Admin, here: Here, channel: ChannelQuery = DEFAULT_CHANNEL
) -> list[VersionOut]:
    """List a channel's versions, newest first."""
    return (await here.registry.describe(here.own_channel(principal, channel)))[::-1]


@router.post("/v1/adapters", status_code=201, responses=NOT_CHANGED)
async def add_adapter(principal: Admin, here: Here, body: AdapterIn) -> AddedOut:
    """Vet an adapter and register it as a candidate; load it too where an engine runs.

    Its two files are taken over, `adapter_config.json` and `adapter_model.safetensors`.
    """
    channel = here.own_channel(principal, body.channel)
    version = await here.registry.add(Path(body.path), channel=channel, actor=principal.name)
    if here.engine.alive():
        await here.registry.load(version.name)
    described = await here.described(version.name)
    left = await asyncio.to_thread(left_files, Path(body.path))
    return AddedOut(**described.model_dump(), left=left)


@router.get("/v1/adapters/{version}/events", responses=NOT_FOUND)
async def adapter_events(version: VersionPath, principal: Admin, here: Here) -> list[EventOut]:
    """Who changed a version's state, when and why, oldest first."""
    await here.own_version(principal, version)
    return [EventOut.of(event) for event in await here.registry.events(version)]


@router.post("/v1/adapters/{version}/promote", responses=NOT_CHANGED)
async def promote(version: VersionPath, principal: Admin, here: Here, body: ReasonIn) -> VersionOut:
    """Make a version live: loaded first, then one transaction."""
    await here.own_version(principal, version)
    await here.registry.promote(version, actor=principal.name, reason=body.reason)
    return await here.described(version)


@router.post("/v1/adapters/{version}/reject", responses=NOT_CHANGED)
async def reject(version: VersionPath, principal: Admin, here: Here, body: ReasonIn) -> VersionOut:
    """Refuse a candidate."""
    await here.own_version(principal, version)
    await here.registry.reject(version, actor=principal.name, reason=body.reason)
    return await here.described(version)


@router.post("/v1/adapters/{version}/retire", responses=NOT_CHANGED)
async def retire(version: VersionPath, principal: Admin, here: Here, body: ReasonIn) -> VersionOut:
    """Let a version's requests end, then unload it."""
    await here.own_version(principal, version)
    await here.registry.retire(version, actor=principal.name, reason=body.reason)
    return await here.described(version)


@router.get("/v1/route", responses=NOT_FOUND)
async def read_route(
    principal: Admin, here: Here, channel: ChannelQuery = DEFAULT_CHANNEL
) -> RouteOut:
    """Show who answers a channel."""
    view = here.registry.routes()[here.own_channel(principal, channel)]
    return RouteOut.of(view, here.engine.resident())


@router.put("/v1/route", responses=NOT_CHANGED)
async def change_route(principal: Admin, here: Here, body: ChannelRouteIn) -> RouteOut:
    """Replace a channel's route; live `base` takes every adapter out of the way."""
    view = await here.registry.set_route(
        here.own_channel(principal, body.channel),
        RouteIn(**body.model_dump(include=set(RouteIn.model_fields))),
        actor=principal.name,
        reason=body.reason,
    )
    return RouteOut.of(view, here.engine.resident())


@router.post("/v1/rollback", responses=NOT_CHANGED)
async def rollback(principal: Admin, here: Here, body: RollbackIn) -> SwapOut:
    """Put the version before back, at once; started answers end on theirs."""
    channel = here.own_channel(principal, body.channel)
    swap = await here.registry.rollback(channel, actor=principal.name, reason=body.reason)
    return SwapOut.model_validate(swap, from_attributes=True)
