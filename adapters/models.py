"""Tables of the registry. Never wire types (those are in `schemas.py`)."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index
from sqlmodel import Field, SQLModel


class Channel(SQLModel, table=True):
    """A name that applications chat with; belongs to a tenant.

    `shared` says that the texts of several tenants may train its adapter.
    """

    __tablename__ = "channel"

    name: str = Field(primary_key=True)
    tenant: str
    shared: bool = False
    created_at: datetime


class Version(SQLModel, table=True):
    """An adapter that never changes. `base` has no row: it is the absence of an adapter."""

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
    """Relative to the adapters' root."""
    digest: str
    """sha256 over the manifest: the content's identity."""
    rank: int
    size_bytes: int = Field(sa_type=BigInteger)
    created_at: datetime
    created_by: str
    figures: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """Win rate, pairs, training seconds…: what a list shows."""


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
    """The one row of a channel that says who answers; replaced in one transaction.

    A version of None means: nobody (canary, shadow, standby) or `base` (live is never None: it is
    `base` or a version's name). `epoch` counts the changes.
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
    """A running server, as it last reported itself. All times are the database's.

    A server that ends well removes its row; that of one that died is removed by the others.
    """

    __tablename__ = "server"

    id: str = Field(primary_key=True)
    """Made at each start."""
    name: str
    url: str
    """Where it listens, as it sees itself."""
    base_fingerprint: str
    started_at: datetime
    heartbeat_at: datetime
    ready: bool = False
    """It holds all that the routes named when it last became ready: promotions wait for it."""
    draining: bool = False
    loaded: list[str] = Field(sa_column=Column(JSON, nullable=False))
    """The versions that can answer on it and stay."""
    leaving: list[str] = Field(sa_column=Column(JSON, nullable=False))
    """Those that are let go, or still have requests: their files are needed."""
    failures: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    """Why a version that was asked for (`LoadRequest.id`) or that a route names is not loaded."""
    epochs: dict[str, int] = Field(sa_column=Column(JSON, nullable=False))
    """The route that it has in force, by channel."""


class LoadRequest(SQLModel, table=True):
    """A version that all servers should load, because one of them is about to put it in a route."""

    __tablename__ = "load_request"

    id: str = Field(primary_key=True)
    version: str
    server: str
    """Who asks."""
    until: datetime
    """When it is forgotten, by the database's clock."""
