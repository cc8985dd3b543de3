"""The queries of `feedback.reading.judgements`, the same for SQLite and PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, and_, cast, extract, func, select
from sqlalchemy.orm import Mapped
from sqlmodel import col

from feedback.models import Choice, Feedback, Interaction
from feedback.reading.latest_judgements import (
    anonymous,
    later_judgements,
    rater,
    requester,
    taken_back,
)

COMPARABLE_METRICS = ("preference", "ranking", "demonstration", "thumbs", "rating")
SEEN_MODES = ("live", "external")

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_WEEK = 7 * _DAY
_THURSDAY = 3 * _DAY
"""Offset that makes weeks start on Monday: the Unix epoch was a Thursday, three days after one."""


@dataclass(frozen=True, slots=True)
class LogWindow:
    """A part of the log: feedback (or requests) after `since`, up to and including `until`.

    `tenants` is None for all tenants, which is allowed only for a shared channel. `metrics` are
    custom metrics whose judgements are read beside those of the built-in ones.
    """

    channel: str
    tenants: frozenset[str] | None
    since: datetime | None
    until: datetime
    metrics: frozenset[str] = frozenset()


def _week(moment: ColumnElement[Any]) -> ColumnElement[int]:
    """Return the number of the ISO week (from Monday midnight UTC) since the epoch.

    It is computed in whole microseconds, because PostgreSQL would round the last half second of a
    week up.
    """
    return (cast(extract("epoch", moment) * _SECOND, BigInteger) + _THURSDAY) // _WEEK


def _in_window(
    window: LogWindow, tenant: Mapped[str], moment: Mapped[datetime]
) -> ColumnElement[bool]:
    conditions = [col(Interaction.channel) == window.channel, moment <= window.until]
    if window.since is not None:
        conditions.append(moment > window.since)
    if window.tenants is not None:
        conditions.append(tenant.in_(sorted(window.tenants)))
    return and_(*conditions)


def _feedback_rows(window: LogWindow) -> Select[Any]:
    """Select each row of feedback with its rater and whether it is superseded or taken back."""
    return (
        select(
            *_FEEDBACK_COLUMNS,
            col(Interaction.conversation),
            rater().label("rater_name"),
            requester().label("requester"),
            anonymous().label("anonymous"),
            later_judgements().label("later_judgements"),
            taken_back(window.until).label("taken_back"),
        )
        .join(
            Interaction,
            and_(
                col(Interaction.id) == col(Feedback.interaction_id),
                col(Interaction.tenant) == col(Feedback.tenant),
            ),
        )
        .where(
            _in_window(window, col(Feedback.tenant), col(Feedback.received_at)),
            col(Interaction.mode).in_(SEEN_MODES),
            col(Feedback.metric_name).in_(sorted({*COMPARABLE_METRICS, *window.metrics})),
        )
    )


_FEEDBACK_COLUMNS: tuple[Mapped[Any], ...] = (
    col(Feedback.tenant),
    col(Feedback.id),
    col(Feedback.received_at),
    col(Feedback.interaction_id),
    col(Feedback.choice),
    col(Feedback.metric_name),
    col(Feedback.value),
    col(Feedback.source),
    col(Feedback.retracts),
)


def judgement_rows(window: LogWindow) -> Select[Any]:
    """Select each judgement with its place among its rater's counting judgements of that week."""
    row = _feedback_rows(_from_monday(window)).subquery()
    judgement = select(row).where(row.c.retracts.is_(None)).subquery()
    counts = and_(judgement.c.later_judgements == 0, ~judgement.c.taken_back)
    place = func.row_number().over(
        partition_by=(
            judgement.c.tenant,
            judgement.c.source,
            judgement.c.anonymous,
            judgement.c.rater_name,
            _week(judgement.c.received_at),
            counts,
        ),
        order_by=(judgement.c.received_at, judgement.c.id),
    )
    ranked = select(judgement, place.label("place_in_week")).subquery()
    found = select(ranked).order_by(
        ranked.c.tenant, ranked.c.conversation, ranked.c.received_at, ranked.c.id
    )
    return found if window.since is None else found.where(ranked.c.received_at > window.since)


def fresh_judgements(window: LogWindow, base_fingerprint: str) -> Select[Any]:
    """Count the judgements of a window by rater and requester, whatever they say.

    Only those on complete answers of this base model count, and of each rater's judgements on a
    subject only the latest, unless it was taken back.
    """
    rows = _feedback_rows(window)
    row = rows.where(
        col(Interaction.status) == "complete",
        col(Interaction.base_fingerprint) == base_fingerprint,
    ).subquery()
    return (
        select(
            row.c.tenant,
            row.c.source,
            row.c.rater_name,
            row.c.requester,
            func.count().label("judgements"),
        )
        .where(row.c.retracts.is_(None), row.c.later_judgements == 0, ~row.c.taken_back)
        .group_by(row.c.tenant, row.c.source, row.c.rater_name, row.c.requester)
    )


def _from_monday(window: LogWindow) -> LogWindow:
    """Extend the window to the start (inclusive) of the week in which it begins."""
    if window.since is None:
        return window
    day = window.since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return replace(window, since=day - timedelta(days=day.weekday()) - timedelta.resolution)


def prompts_of(window: LogWindow) -> Select[Any]:
    """Select the complete live chat requests with their requesters, by tenant and time."""
    return (
        select(*_PROMPT_COLUMNS, requester().label("requester"))
        .where(
            _in_window(window, col(Interaction.tenant), col(Interaction.received_at)),
            col(Interaction.mode) == "live",
            col(Interaction.endpoint) == "chat",
            col(Interaction.status) == "complete",
            col(Interaction.texts_removed_at).is_(None),
        )
        .order_by(col(Interaction.tenant), col(Interaction.received_at), col(Interaction.id))
    )


def interactions_in(window: LogWindow) -> Select[Any]:
    """Count the interactions of the window that users saw."""
    return select(func.count()).where(
        _in_window(window, col(Interaction.tenant), col(Interaction.received_at)),
        col(Interaction.mode).in_(SEEN_MODES),
    )


_PROMPT_COLUMNS: tuple[Mapped[Any], ...] = (
    col(Interaction.id),
    col(Interaction.tenant),
    col(Interaction.conversation),
    col(Interaction.received_at),
)

_ANSWER_COLUMNS: tuple[ColumnElement[Any] | Mapped[Any], ...] = (
    col(Interaction.id),
    col(Interaction.tenant),
    col(Interaction.channel),
    col(Interaction.mode),
    col(Interaction.conversation),
    col(Interaction.prompt_token_ids),
    col(Interaction.status),
    col(Interaction.version),
    col(Interaction.base_fingerprint),
    col(Interaction.received_at),
    col(Interaction.texts_removed_at),
    col(Choice.index).label("choice_index"),
    col(Choice.text),
    col(Choice.token_ids),
    col(Choice.finish_reason),
    col(Choice.message),
)


def answers_of(ids: Sequence[str]) -> Select[Any]:
    """Select the choices of these interactions, of any channel and mode.

    The query filters by the primary key only: with the channel, SQLite would scan all its rows.
    """
    return (
        select(*_ANSWER_COLUMNS, requester().label("requester"))
        .join(Choice, col(Choice.interaction_id) == col(Interaction.id))
        .where(col(Interaction.id).in_(ids))
        .order_by(col(Interaction.id), col(Choice.index))
    )


def requests_of(ids: Sequence[str]) -> Select[Any]:
    """Select the ids and requests of these interactions."""
    return select(col(Interaction.id), col(Interaction.request)).where(col(Interaction.id).in_(ids))
