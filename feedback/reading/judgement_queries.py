"""The queries behind `judged.py`: one code path for SQLite and PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, and_, cast, extract, func, select
from sqlalchemy.orm import Mapped
from sqlmodel import col

from feedback.models import Choice, Feedback, Interaction
from feedback.reading.last_words import anonymous, asker, later_words, rater, taken_back

COMPARABLE_METRICS = ("preference", "ranking", "demonstration", "thumbs", "rating")
SEEN_MODES = ("live", "external")

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_WEEK = 7 * _DAY
_THURSDAY = 3 * _DAY
"""The Unix epoch was a Thursday; three days later in the sum, weeks turn on Mondays."""


@dataclass(frozen=True, slots=True)
class LogWindow:
    """Which part of the log: feedback (or requests) after `since` until `until`, inclusive.

    `tenants` None means all of them (only for a shared channel).
    """

    channel: str
    tenants: frozenset[str] | None
    since: datetime | None
    until: datetime


def _week(moment: ColumnElement[Any]) -> ColumnElement[int]:
    """Weeks since the epoch, turning on Monday midnight UTC, as ISO weeks do.

    In microseconds, of which there are whole ones: PostgreSQL would round the last half second of a
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


def _words(window: LogWindow) -> Select[Any]:
    """Each row of feedback with its rater, and what makes the word count or not."""
    return (
        select(
            *_WORD_COLUMNS,
            col(Interaction.conversation),
            rater().label("rater_name"),
            anonymous().label("anonymous"),
            later_words().label("later_words"),
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
            col(Feedback.metric_name).in_(COMPARABLE_METRICS),
        )
    )


_WORD_COLUMNS: tuple[Mapped[Any], ...] = (
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


def words_of(window: LogWindow) -> Select[Any]:
    """Each word with its place among its rater's counting words of that week, the whole week's."""
    row = _words(_from_monday(window)).subquery()
    word = select(row).where(row.c.retracts.is_(None)).subquery()
    counts = and_(word.c.later_words == 0, ~word.c.taken_back)
    place = func.row_number().over(
        partition_by=(
            word.c.tenant,
            word.c.source,
            word.c.anonymous,
            word.c.rater_name,
            _week(word.c.received_at),
            counts,
        ),
        order_by=(word.c.received_at, word.c.id),
    )
    ranked = select(word, place.label("place_in_week")).subquery()
    found = select(ranked).order_by(
        ranked.c.tenant, ranked.c.conversation, ranked.c.received_at, ranked.c.id
    )
    return found if window.since is None else found.where(ranked.c.received_at > window.since)


def _from_monday(window: LogWindow) -> LogWindow:
    """The window from the beginning of the week it opens in, which is inclusive."""
    if window.since is None:
        return window
    day = window.since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return replace(window, since=day - timedelta(days=day.weekday()) - timedelta.resolution)


def prompts_of(window: LogWindow) -> Select[Any]:
    """The complete live chat requests with who asked, by tenant and time."""
    return (
        select(*_PROMPT_COLUMNS, asker().label("asker"))
        .where(
            _in_window(window, col(Interaction.tenant), col(Interaction.received_at)),
            col(Interaction.mode) == "live",
            col(Interaction.endpoint) == "chat",
            col(Interaction.status) == "complete",
            col(Interaction.texts_removed_at).is_(None),
        )
        .order_by(col(Interaction.tenant), col(Interaction.received_at), col(Interaction.id))
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
    """The choices of these interactions, of whatever channel and mode.

    Only the primary key is asked for: given the channel too, SQLite looks through all of its rows.
    """
    return (
        select(*_ANSWER_COLUMNS, asker().label("asker"))
        .join(Choice, col(Choice.interaction_id) == col(Interaction.id))
        .where(col(Interaction.id).in_(ids))
        .order_by(col(Interaction.id), col(Choice.index))
    )


def requests_of(ids: Sequence[str]) -> Select[Any]:
    """Id and request of these interactions."""
    return select(col(Interaction.id), col(Interaction.request)).where(col(Interaction.id).in_(ids))
