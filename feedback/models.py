"""Tables of the log. Never wire types (those are in `schemas.py`)."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, Index, LargeBinary, text
from sqlmodel import Field, SQLModel

_WITH_TEXTS = text("texts_removed_at IS NULL")
"""Rows that may still hold somebody's texts: what is due is found by a small index."""
_RETRACTIONS = text("retracts IS NOT NULL")
_COMPARED = text("comparison IS NOT NULL")
_IN_TRIAL = text("trial IS NOT NULL")


class Interaction(SQLModel, table=True):
    """One answered request. Ordered by (`received_at`, `id`), never by a counter.

    `version` is None where the answer came from a model that is not Pawl's (recorded by an
    application's callback). `conversation` is the hash of everything that was asked (messages and
    tools): answers to the same conversation can be compared. `thread` is the hash of its beginning:
    it tells anonymous users apart. Token ids are little-endian int32 blobs (law 1).
    """

    __tablename__ = "interaction"
    __table_args__ = (
        Index("interaction_time", "tenant", "channel", "mode", "received_at", "id"),
        Index("interaction_conversation", "tenant", "conversation"),
        Index("interaction_user", "tenant", "user"),
        # Without the rows that have none, or SQLite's planner takes a trial for half the table.
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
    """`live`, `background` (a client's own requests, for a title say), `shadow` (nobody saw it),
    `evaluation` (our own traffic) or `external`."""
    role: str
    """Why this version answered (`adapters.routing.route.Role`)."""
    requested_model: str
    model: str
    version: str | None
    base_fingerprint: str | None = None
    """Which base model answered (`EngineInfo.model_fingerprint`): its token ids mean nothing to
    another."""
    user: str | None
    key_id: str | None
    parent: str | None = None
    """The live interaction that a shadow answer belongs to."""
    trial: str | None = None
    """The canary or watch that the request took part in (`RouteView.trial` in
    `adapters.routing.route`)."""
    trial_share: float | None = None
    """The newer version's share of the users as it was then."""
    comparison: str | None = None
    """The blind comparison that this is one of the two sides of."""
    run_id: str | None = None
    """LangChain's run id, where a callback of an application sent it."""
    conversation: str
    thread: str
    request: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """Messages (or prompt), tools and sampling parameters, as the client sent them."""
    prompt_token_ids: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    status: str
    """`complete`, `aborted` (the client went away, the server stopped) or `failed`."""
    error: str | None = None
    """A class of error, never a text."""
    first_token_seconds: float | None = None
    duration_seconds: float | None = None
    texts_removed_at: datetime | None = None
    """When request, answers and token ids were removed for their age, or when the request came
    where its client did not want it stored; the numbers stay."""


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
    """The assistant's message as it was served, in OpenAI's form; None where `text` says it all."""


class Feedback(SQLModel, table=True):
    """One judgement of a choice, or between choices. May be stored before its interaction.

    `rater` is None where the client named none: it is then the interaction's user, found when the
    two are joined. Which words count is said in `last_words`.
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
    """Hash of the content: the same id with another content is a conflict."""
    texts_removed_at: datetime | None = None
    """When rationale, tags and the value (where it is a text) were removed for their age."""
    retracts: str | None = None
    """None: a word. Else the row takes words back (`last_words`): the one of this id or, where it
    is empty, all that its rater has said before by this metric of this choice. Its value is null.
    """
