"""Wire types of the registry: versions, events, routes, servers, and route changes."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from adapters.cluster.peers import Peer, standing
from adapters.models import Version, VersionEvent
from adapters.routing.lifecycle import State, lineage
from adapters.routing.route import RouteView, serving
from common.json_values import PlainText

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Name = Annotated[PlainText, StringConstraints(min_length=1, max_length=128)]


class VersionOut(BaseModel):
    """One version. `lineage` is the version and its ancestors, without `base`."""

    name: str
    channel: str
    state: State
    resident: bool
    parent: str | None
    lineage: list[str]
    run: str | None
    base_model: str
    digest: str
    rank: int
    size_bytes: int
    created_at: datetime
    created_by: str
    figures: dict[str, Any]

    @classmethod
    def of(
        cls, version: Version, parents: Mapping[str, str | None], resident: Collection[str]
    ) -> Self:
        """Convert `version`; its ancestors are looked up in `parents`."""
        return cls(
            **version.model_dump(exclude={"state", "folder", "base_fingerprint"}),
            state=State(version.state),
            lineage=lineage(version.name, parents),
            resident=version.name in resident,
        )


class EventOut(BaseModel):
    """One change of a version's state."""

    model_config = ConfigDict(from_attributes=True)

    version: str
    at: datetime
    from_state: State | None
    to_state: State
    actor: str
    reason: str

    @classmethod
    def of(cls, event: VersionEvent) -> Self:
        """Convert `event`."""
        return cls.model_validate(event)


class RouteOut(BaseModel):
    """A channel's route. `serving` answers the bare channel now: live or its fallback."""

    channel: str
    live: str
    serving: str
    standby: str | None
    canary: str | None
    canary_share: float
    holdback_share: float
    shadow: str | None
    shadow_share: float
    epoch: int

    @classmethod
    def of(cls, view: RouteView, resident: Collection[str]) -> Self:
        """Convert `view`; `resident` are the loaded versions."""
        return cls(
            channel=view.channel,
            live=view.live,
            serving=serving(view, resident),
            standby=view.standby,
            canary=view.canary,
            canary_share=view.canary_share,
            holdback_share=view.holdback_share,
            shadow=view.shadow,
            shadow_share=view.shadow_share,
            epoch=view.epoch,
        )


class RouteIn(BaseModel):
    """The whole requested route. `live` is kept if left out; `base` is the base model."""

    model_config = ConfigDict(extra="forbid")

    live: Name | None = None
    canary: Name | None = None
    canary_share: Share = 0.0
    shadow: Name | None = None
    shadow_share: Share = 0.0


class ServerOut(BaseModel):
    """A server on this database. A `ready` one has loaded all versions that the routes name.

    `failures` are the reasons of failed loads; `epochs` maps channels to the epoch of the route
    that the server uses.
    """

    id: str
    name: str
    url: str
    here: bool
    state: Literal["ready", "starting", "draining", "dead"]
    started_at: datetime
    heartbeat_age_seconds: float
    loaded: list[str]
    leaving: list[str]
    failures: list[str]
    epochs: dict[str, int]

    @classmethod
    def of(cls, peer: Peer, me: str, dead_seconds: float) -> Self:
        """Convert `peer`; `me` is the id of the server that answers."""
        return cls(
            id=peer.id,
            name=peer.name,
            url=peer.url,
            here=peer.id == me,
            state=standing(peer, dead_seconds),
            started_at=peer.started_at,
            heartbeat_age_seconds=peer.age_seconds,
            loaded=sorted(peer.loaded),
            leaving=sorted(peer.leaving),
            failures=sorted(set(peer.failures.values())),
            epochs=dict(peer.epochs),
        )


class ReasonIn(BaseModel):
    """Why a version is promoted, rejected, retired or rolled back: stored with the event."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[PlainText, StringConstraints(strip_whitespace=True, max_length=500)] = ""
