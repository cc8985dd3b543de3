"""Versions and routes: `/v1/adapters`, `/v1/route`, `/v1/rollback`."""

import asyncio
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from adapters.schemas import EventOut, ReasonIn, RouteIn, RouteOut, VersionOut
from adapters.vetting.folder import left_files
from common.json_values import PlainText
from server.api.dependencies import Admin, ChannelQuery, Here, VersionPath
from server.api.description.errors import errors
from server.api.routes import api_router
from server.settings import DEFAULT_CHANNEL

router = api_router("adapters")

NOT_FOUND = errors(404)
NOT_CHANGED = errors(404, 409, 422)
"""The version or channel is unknown, its state does not allow the change, or a name is invalid."""


class AdapterIn(BaseModel):
    """An adapter to add: a folder written by PEFT, on the server's machine."""

    model_config = ConfigDict(extra="forbid")

    path: PlainText = Field(min_length=1, max_length=4096)
    channel: PlainText = DEFAULT_CHANNEL


class AddedOut(VersionOut):
    """The new version. `left` names the files of the folder that were not copied."""

    left: list[str]


class ChannelRouteIn(RouteIn, ReasonIn):
    """The new route of a channel, complete, and the reason for the change."""

    channel: PlainText = DEFAULT_CHANNEL


class RollbackIn(ReasonIn):
    """The channel to roll back, and the reason."""

    channel: PlainText = DEFAULT_CHANNEL


class SwapOut(BaseModel):
    """A change of the live version. `seconds` is from the start of the load to the new route."""

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
    """Vet an adapter and register it as a candidate; load it too if an engine runs.

    Two files are copied: `adapter_config.json` and `adapter_model.safetensors`.
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
    """List the changes of a version's state with actor, time and reason, oldest first."""
    await here.own_version(principal, version)
    return [EventOut.of(event) for event in await here.registry.events(version)]


@router.post("/v1/adapters/{version}/promote", responses=NOT_CHANGED)
async def promote(version: VersionPath, principal: Admin, here: Here, body: ReasonIn) -> VersionOut:
    """Make a version live: load it, then change the route in one transaction."""
    await here.own_version(principal, version)
    await here.registry.promote(version, actor=principal.name, reason=body.reason)
    return await here.described(version)


@router.post("/v1/adapters/{version}/reject", responses=NOT_CHANGED)
async def reject(version: VersionPath, principal: Admin, here: Here, body: ReasonIn) -> VersionOut:
    """Reject a candidate."""
    await here.own_version(principal, version)
    await here.registry.reject(version, actor=principal.name, reason=body.reason)
    return await here.described(version)


@router.post("/v1/adapters/{version}/retire", responses=NOT_CHANGED)
async def retire(version: VersionPath, principal: Admin, here: Here, body: ReasonIn) -> VersionOut:
    """Retire a version: wait for its requests to end, then unload it."""
    await here.own_version(principal, version)
    await here.registry.retire(version, actor=principal.name, reason=body.reason)
    return await here.described(version)


@router.get("/v1/route", responses=NOT_FOUND)
async def read_route(
    principal: Admin, here: Here, channel: ChannelQuery = DEFAULT_CHANNEL
) -> RouteOut:
    """Show which versions answer a channel."""
    view = here.registry.routes()[here.own_channel(principal, channel)]
    return RouteOut.of(view, here.engine.resident())


@router.put("/v1/route", responses=NOT_CHANGED)
async def change_route(principal: Admin, here: Here, body: ChannelRouteIn) -> RouteOut:
    """Replace a channel's route; with live `base` the base model answers without any adapter."""
    view = await here.registry.set_route(
        here.own_channel(principal, body.channel),
        RouteIn(**body.model_dump(include=set(RouteIn.model_fields))),
        actor=principal.name,
        reason=body.reason,
    )
    return RouteOut.of(view, here.engine.resident())


@router.post("/v1/rollback", responses=NOT_CHANGED)
async def rollback(principal: Admin, here: Here, body: RollbackIn) -> SwapOut:
    """Make the previous version live again, at once; answers in progress keep their version."""
    channel = here.own_channel(principal, body.channel)
    swap = await here.registry.rollback(channel, actor=principal.name, reason=body.reason)
    return SwapOut.model_validate(swap, from_attributes=True)
