"""The queries of `feedback.reading.follow_ups`, the same for SQLite and PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Mapped
from sqlmodel import col

from feedback.models import Feedback, Interaction
from feedback.reading.judgement_queries import LogWindow
from feedback.reading.latest_judgements import later_judgements, requester, taken_back

COMMENT = "comment"
"""The metric whose judgements say nothing about an answer's quality by themselves."""

_COLUMNS: tuple[Mapped[Any], ...] = (
    col(Interaction.id),
    col(Interaction.user),
    col(Interaction.conversation),
    col(Interaction.received_at),
    col(Interaction.duration_seconds),
)


def next_tenant(after: str) -> Select[Any]:
    """Select the first tenant after `after`, which reads one entry of an index."""
    return (
        select(col(Interaction.tenant))
        .where(col(Interaction.tenant) > after)
        .order_by(col(Interaction.tenant))
        .limit(1)
    )


def answered_requests(window: LogWindow, tenant: str, since: datetime | None) -> Select[Any]:
    """Select one tenant's answered live chat requests, by requester and time.

    The sides of comparisons are left out, since their raters vote, and so are requests without
    texts.
    """
    conditions = [
        col(Interaction.tenant) == tenant,
        col(Interaction.channel) == window.channel,
        col(Interaction.mode) == "live",
        col(Interaction.received_at) <= window.until,
        col(Interaction.endpoint) == "chat",
        col(Interaction.status) == "complete",
        col(Interaction.comparison).is_(None),
        col(Interaction.texts_removed_at).is_(None),
    ]
    if since is not None:
        conditions.append(col(Interaction.received_at) > since)
    return (
        select(*_COLUMNS, requester().label("requester"))
        .where(*conditions)
        .order_by(
            requester(), col(Interaction.user), col(Interaction.received_at), col(Interaction.id)
        )
    )


def explicit_judgements(tenant: str, ids: Sequence[str], until: datetime) -> Select[Any]:
    """Select people's judgements of these interactions that count at `until`, without comments."""
    judgement = (
        select(
            col(Feedback.interaction_id),
            col(Feedback.choice),
            col(Feedback.metric_name),
            col(Feedback.value),
            col(Feedback.source),
            col(Feedback.retracts),
            later_judgements().label("later_judgements"),
            taken_back(until).label("taken_back"),
        )
        .join(Interaction, col(Interaction.id) == col(Feedback.interaction_id))
        .where(
            col(Feedback.tenant) == tenant,
            col(Feedback.interaction_id).in_(ids),
            col(Feedback.received_at) <= until,
        )
        .subquery()
    )
    return select(
        judgement.c.interaction_id, judgement.c.choice, judgement.c.metric_name, judgement.c.value
    ).where(
        judgement.c.retracts.is_(None),
        judgement.c.source == "HUMAN",
        judgement.c.metric_name != COMMENT,
        judgement.c.later_judgements == 0,
        ~judgement.c.taken_back,
    )
