"""Tables of the log. The wire types are in `feedback/schemas.py`."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, Index, LargeBinary, text
from sqlmodel import Field, SQLModel

_WITH_TEXTS = text("texts_removed_at IS NULL")
"""Condition of the partial indexes with which retention finds rows that still have texts."""
_RETRACTIONS = text("retracts IS NOT NULL")
_COMPARED = text("comparison IS NOT NULL")
_IN_TRIAL = text("trial IS NOT NULL")


class Interaction(SQLModel, table=True):
    """One answered request. Ordered by (`received_at`, `id`), never by a counter.

    `version` is None if another model than Pawl's answered (reported by an application).
    `conversation` is the hash of the whole input (messages and tools): answers to the same
    conversation can be compared. `thread` is the hash of the conversation's beginning, which
    distinguishes anonymous users. Token ids are little-endian int32 blobs, as the engine sampled
    them.
    """

    __tablename__ = "interaction"
    __table_args__ = (
        Index("interaction_time", "tenant", "channel", "mode", "received_at", "id"),
        Index("interaction_conversation", "tenant", "conversation"),
        Index("interaction_user", "tenant", "user"),
        # A partial index: with NULLs, SQLite's planner would estimate a trial as half the table.
        Index(
            "interaction_trial",
            "trial",
            "received_at",
            sqlite_where=_IN_TRIAL,
            postgresql_where=_IN_TRIAL,
        ),
        Index(
            "interaction_comparison",
            "comparison",
            sqlite_where=_COMPARED,
            postgresql_where=_COMPARED,
        ),
        Index(
            "interaction_compared",
            "channel",
            "received_at",
            sqlite_where=_COMPARED,
            postgresql_where=_COMPARED,
        ),
        Index("interaction_version", "channel", "version", "mode", "received_at"),
        Index("interaction_run_id", "tenant", "run_id", unique=True),
        Index(
            "interaction_texts",
            "received_at",
            sqlite_where=_WITH_TEXTS,
            postgresql_where=_WITH_TEXTS,
        ),
    )

    id: str = Field(primary_key=True)
    received_at: datetime
    tenant: str
    channel: str
    endpoint: str
    """`chat` or `completion`."""
    mode: str
    """`live`, `background` (a client's own requests, such as for a title), `shadow` (not shown to
    the user), `evaluation` or `counterpart` (the own traffic of runs), or `external` (another
    model's answer)."""
    role: str
    """Why this version answered (`adapters.routing.route.Role`)."""
    requested_model: str
    model: str
    version: str | None
    base_fingerprint: str | None = None
    """The base model that answered (`EngineInfo.model_fingerprint`); its token ids are not valid
    for another base model."""
    user: str | None
    key_id: str | None
    parent: str | None = None
    """The live interaction that a shadow answer belongs to."""
    trial: str | None = None
    """The canary or watch that the request took part in (`RouteView.trial` in
    `adapters.routing.route`)."""
    trial_share: float | None = None
    """The newer version's share of users at the time of the request, from 0 to 1."""
    comparison: str | None = None
    """The blind comparison of which this is one of the two sides."""
    run_id: str | None = None
    """LangChain's run id, if an application's callback reported the interaction."""
    conversation: str
    thread: str
    request: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """Messages (or prompt), tools and sampling parameters, as the client sent them."""
    prompt_token_ids: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    status: str
    """`complete`, `aborted` (the client disconnected or the server stopped) or `failed`."""
    error: str | None = None
    """The class of the error, never its message."""
    first_token_seconds: float | None = None
    duration_seconds: float | None = None
    texts_removed_at: datetime | None = None
    """When retention removed the request, the answers and the token ids, or when the request was
    received if its client opted out of storage. The numbers are kept."""


class Choice(SQLModel, table=True):
    """One of an interaction's `n` answers."""

    __tablename__ = "choice"

    interaction_id: str = Field(primary_key=True, foreign_key="interaction.id", ondelete="CASCADE")
    index: int = Field(primary_key=True)
    text: str
    token_ids: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    tokens: int = 0
    finish_reason: str | None = None
    message: dict[str, Any] | None = Field(
        default=None, sa_column=Column(JSON(none_as_null=True), nullable=True)
    )
    """The assistant's message as it was served, in OpenAI's format; None if `text` suffices."""


class Feedback(SQLModel, table=True):
    """One judgement of a choice, or between choices. May be stored before its interaction.

    `rater` is None if the client named none; it is then the interaction's user, found by a join.
    `feedback.reading.latest_judgements` decides which judgements count.
    """

    __tablename__ = "feedback"
    __table_args__ = (
        Index("feedback_interaction", "tenant", "interaction_id"),
        Index("feedback_time", "tenant", "received_at", "id"),
        Index("feedback_rater", "tenant", "rater"),
        Index(
            "feedback_retracts",
            "tenant",
            "retracts",
            sqlite_where=_RETRACTIONS,
            postgresql_where=_RETRACTIONS,
        ),
        Index(
            "feedback_texts",
            "received_at",
            sqlite_where=_WITH_TEXTS,
            postgresql_where=_WITH_TEXTS,
        ),
    )

    tenant: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    received_at: datetime
    interaction_id: str
    choice: int
    metric_name: str
    value: Any = Field(sa_column=Column(JSON, nullable=False))
    rater: str | None = None
    source: str
    """`HUMAN`, `LLM_JUDGE` or `CODE`."""
    rationale: str | None = None
    tags: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    key_id: str | None = None
    digest: str
    """Hash of the content: the same id with other content is a conflict."""
    texts_removed_at: datetime | None = None
    """When retention removed the rationale, the tags and the value (if it is a text)."""
    retracts: str | None = None
    """None for a judgement. Otherwise the row is a retraction: of the judgement with this id or, if
    empty, of all earlier judgements of its rater on this choice by this metric. Its value is null.
    """
