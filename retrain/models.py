"""Tables of the weekly runs. Never wire types."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, Index, UniqueConstraint
from sqlmodel import Field, SQLModel


class Run(SQLModel, table=True):
    """One attempt of a channel at a slot.

    `id` is `<channel>-<slot>` with `.<attempt>` from the second attempt on. A run that is `running`
    is held by a lease: `owner` renews `lease_until`, `fence` grows with every new owner and guards
    every write (a paused owner that wakes up finds its fence outdated).
    """

    __tablename__ = "run"
    __table_args__ = (
        UniqueConstraint("channel", "slot", "attempt"),
        Index("run_channel", "channel", "created_at"),
    )

    id: str = Field(primary_key=True)
    channel: str
    tenant: str
    slot: str
    """`2026-w47` for the scheduler's; by hand the slot of the day, with an attempt of its own."""
    attempt: int
    trigger: str
    """`schedule` or `manual`."""
    state: str
    """`running`, `promoted`, `rejected`, `skipped`, `failed` or `cancelled`."""
    step: str
    """The step under way or the last one begun: `snapshot` … `roll out`."""
    created_at: datetime
    finished_at: datetime | None = None
    owner: str | None = None
    lease_until: datetime | None = None
    fence: int = 0
    lost_owners: int = 0
    """Owners that ended without letting go of it; a server that is stopped lets go."""
    cancel_requested: bool = False
    parent: str | None = None
    """The version that was live when the snapshot was taken (None: base)."""
    version: str | None = None
    """The candidate, once registered."""
    cut_off: datetime | None = None
    """The snapshot holds what came before."""
    figures: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """What each step left: counts, seconds, training curve, evaluation figures, swap seconds."""
    verdict: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    reason: str | None = None
    """One line: why it ended as it did."""


class TrainedText(SQLModel, table=True):
    """A conversation that a version was trained on (normalised text's hash, never the text).

    Evaluation leaves out the prompts that any ancestor was trained on.
    """

    __tablename__ = "trained_text"

    version: str = Field(primary_key=True)
    text_key: str = Field(primary_key=True)


class Rollout(SQLModel, table=True):
    """A version on its way to all users; there is one at most for a version.

    `settings` are those in force when it began: nothing of them changes while it lasts.
    """

    __tablename__ = "rollout"
    __table_args__ = (Index("rollout_channel", "channel", "began_at"),)

    version: str = Field(primary_key=True)
    channel: str
    previous: str
    """Live when it began; `base` without an adapter."""
    run: str | None = None
    phase: str
    """`retrain.rollout.decisions.Phase`."""
    trial: str = ""
    """The canary's name in the route and in the log, once there is one."""
    began_at: datetime
    stages: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    """When each phase or share began: `{"phase", "at", "share"}`, times in ISO 8601."""
    settings: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    verdict: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    """The online gate's last one."""
    ended_at: datetime | None = None
    reason: str = ""


class RolloutEvent(SQLModel, table=True):
    """A decision about a rollout, with the numbers that it was made on."""

    __tablename__ = "rollout_event"
    __table_args__ = (Index("rollout_event_version", "version", "at"),)

    id: str = Field(primary_key=True)
    """Sorts events of one moment in the order in which they were made."""
    version: str
    channel: str
    at: datetime
    move: str
    phase: str
    """The phase it led to."""
    actor: str
    reason: str
    numbers: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
