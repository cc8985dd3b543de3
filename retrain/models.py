"""Database tables of runs and rollouts. They are not used as wire types."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

ALPHA = "alpha"
"""Where an alpha of the yearly budget stands: a key of a rollout's first stage, or of a run's
figures."""


class Run(SQLModel, table=True):
    """One run of a channel in a week (slot).

    `id` is `<channel>-<slot>`, with `.<attempt>` for runs other than the weekly one. A `running`
    run is owned under a lease: `owner` renews `lease_until`, and `fence` (a fencing token) grows
    with every new owner and is checked by every write, so that a paused owner that resumes cannot
    write any more.
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
    """The ISO week, such as `2026-w47`."""
    attempt: int
    """0 for the scheduled run of the week; runs that were started in between count from 1."""
    trigger: str
    """`schedule`, `evidence` (enough fresh feedback) or `manual`."""
    state: str
    """`running`, `promoted`, `rejected`, `skipped`, `failed` or `cancelled`."""
    step: str
    """The current step, or the last one that was started: `snapshot` to `roll out`."""
    created_at: datetime
    finished_at: datetime | None = None
    owner: str | None = None
    lease_until: datetime | None = None
    fence: int = 0
    lost_owners: int = 0
    """Owners that died. A server that is stopped releases its runs, which does not count."""
    cancel_requested: bool = False
    parent: str | None = None
    """The version that was live when the snapshot was taken; None for the base model."""
    version: str | None = None
    """The candidate, once it is registered."""
    cut_off: datetime | None = None
    """End of the period that the snapshot covers."""
    figures: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """Results of the steps: counts, seconds, training curve, evaluation figures, swap seconds."""
    verdict: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    """The offline gate's `Verdict`."""
    reason: str | None = None
    """Why the run ended as it did, in one line."""


class TrainedText(SQLModel, table=True):
    """A question that a version was trained on, as `question_key` (a hash, not the text).

    The evaluation leaves out prompts that the candidate or an ancestor was trained on.
    """

    __tablename__ = "trained_text"

    version: str = Field(primary_key=True)
    text_key: str = Field(primary_key=True)


class Rollout(SQLModel, table=True):
    """The rollout of a version; a version has at most one.

    `settings` are those at the start; later changes of the settings do not affect it.
    """

    __tablename__ = "rollout"
    __table_args__ = (Index("rollout_channel", "channel", "began_at"),)

    version: str = Field(primary_key=True)
    channel: str
    previous: str
    """The version that was live at the start; `base` for the base model."""
    run: str | None = None
    phase: str
    """A value of `retrain.rollout.decisions.Phase`."""
    trial: str = ""
    """Id of the canary in the route and in the log, once there is one."""
    began_at: datetime
    stages: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    """Start of each phase or share: `{"phase", "at", "share"}`, times in ISO 8601. The first one
    also has the `alpha` that was taken from the yearly budget, if any."""
    settings: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    verdict: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    """The latest `OnlineVerdict`."""
    ended_at: datetime | None = None
    reason: str = ""

    @property
    def alpha(self) -> float | None:
        """What it took from the channel's budget of false promotions; None: nothing."""
        return alpha_of(self.stages)


def alpha_of(stages: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the alpha that is written into a rollout's stages, or None."""
    found = stages[0].get(ALPHA) if stages else None
    return None if found is None else float(found)


class RolloutEvent(SQLModel, table=True):
    """A decision about a rollout, with the numbers that it is based on."""

    __tablename__ = "rollout_event"
    __table_args__ = (Index("rollout_event_version", "version", "at"),)

    id: str = Field(primary_key=True)
    """Sorts events in the order in which they were made, even those of the same time."""
    version: str
    channel: str
    at: datetime
    move: str
    phase: str
    """The phase after the decision."""
    actor: str
    reason: str
    numbers: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
