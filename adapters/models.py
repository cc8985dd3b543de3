"""Tables of the registry. The wire types are in `adapters/schemas.py`."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index
from sqlmodel import Field, SQLModel


class Channel(SQLModel, table=True):
    """A model alias that applications send requests to; belongs to a tenant.

    `shared` allows training its adapter on the texts of several tenants.
    """

    __tablename__ = "channel"

    name: str = Field(primary_key=True)
    tenant: str
    shared: bool = False
    created_at: datetime


class Version(SQLModel, table=True):
    """An immutable adapter. The base model (`base`) has no row."""

    __tablename__ = "version"
    __table_args__ = (Index("version_channel", "channel", "created_at", "name"),)

    name: str = Field(primary_key=True)
    """`2026-w47-3f9c1a`, or `import-3f9c1a`."""
    channel: str
    state: str
    parent: str | None
    """The version it was trained from; None means `base`."""
    run: str | None
    base_model: str
    base_fingerprint: str
    folder: str
    """Path relative to the store's root."""
    digest: str
    """sha256 (hex) that identifies the content; see `adapters.store.manifest.content_digest`."""
    rank: int
    size_bytes: int = Field(sa_type=BigInteger)
    created_at: datetime
    created_by: str
    figures: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """Figures for lists: win rate, number of pairs, training seconds…"""


class VersionEvent(SQLModel, table=True):
    """One change of a version's state: who, when, why."""

    __tablename__ = "version_event"
    __table_args__ = (Index("version_event_version", "version", "at"),)

    id: str = Field(primary_key=True)
    version: str
    channel: str
    at: datetime
    from_state: str | None
    to_state: str
    actor: str
    reason: str


class Route(SQLModel, table=True):
    """The route of a channel, one row: which version has which role.

    `live` is `base` or a version; the other roles are None if no version has them. `epoch` counts
    the changes. Shares are fractions from 0 to 1.
    """

    __tablename__ = "route"

    channel: str = Field(primary_key=True, foreign_key="channel.name", ondelete="CASCADE")
    live: str
    standby: str | None = None
    canary: str | None = None
    canary_share: float = 0.0
    holdback_share: float = 0.0
    trial: str = ""
    shadow: str | None = None
    shadow_share: float = 0.0
    epoch: int = 0
    changed_at: datetime
    changed_by: str
    reason: str


class Server(SQLModel, table=True):
    """A running server as it last reported itself. All times are of the database's clock.

    A server deletes its row when it shuts down; the others delete the row of one that died.
    """

    __tablename__ = "server"

    id: str = Field(primary_key=True)
    """New at each start."""
    name: str
    url: str
    """The URL that it listens on, by its own settings."""
    base_fingerprint: str
    started_at: datetime
    heartbeat_at: datetime
    ready: bool = False
    """Whether all versions of the routes are loaded here; promotions wait for ready servers."""
    draining: bool = False
    loaded: list[str] = Field(sa_column=Column(JSON, nullable=False))
    """The versions that can answer on it and are not being unloaded."""
    leaving: list[str] = Field(sa_column=Column(JSON, nullable=False))
    """The versions that are being unloaded or still have requests: their files are needed."""
    failures: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    """Reasons of failed loads, by `LoadRequest.id` or, for a version of a route, `route:<name>`."""
    epochs: dict[str, int] = Field(sa_column=Column(JSON, nullable=False))
    """The epoch of the route that it uses, by channel."""


class LoadRequest(SQLModel, table=True):
    """A request that all servers load a version, before a route change that names it."""

    __tablename__ = "load_request"

    id: str = Field(primary_key=True)
    version: str
    server: str
    """Id of the server that requests it."""
    until: datetime
    """When it expires, by the database's clock."""
