"""Blind comparisons: what decides them. What stays hidden until then: `feedback.visibility`.

The first preference or ranking that names both sides decides a comparison and opens it. What is
said later may be said by somebody who has looked, and decides nothing. A decision that was taken
back is none, but what it opened stays open.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased
from sqlmodel import col

from common.database import Database
from feedback.models import Feedback, Interaction
from feedback.reading.judgements import mentioned
from feedback.reading.last_words import asker, rater, taken_back

HUMAN = "HUMAN"
DECIDING_METRICS = ("preference", "ranking")


@dataclass(frozen=True, slots=True)
class Decided:
    """A comparison that whoever asked has decided; `at` is when, `version` which one won."""

    user: tuple[str, str]
    at: datetime
    version: str


async def decided_comparisons(
    database: Database, channel: str, versions: tuple[str, str], since: datetime
) -> list[Decided]:
    """Comparisons of two versions, asked for after `since` and decided by their own askers.

    In the order of the decisions; a user may have several.
    """
    one, other = versions
    second = aliased(Interaction)
    query = _words(second).where(
        col(Interaction.channel) == channel,
        col(Interaction.received_at) > since,
        or_(
            and_(col(Interaction.version) == one, col(second.version) == other),
            and_(col(Interaction.version) == other, col(second.version) == one),
        ),
    )
    async with database.read() as session:
        rows = (await (await session.connection()).execute(_in_order(query))).all()
    return [_decided(row) for row in _first_words(rows) if _counts(row)]


async def is_decided(connection: AsyncConnection, interaction: Interaction) -> bool:
    """Whether somebody has decided the comparison of which the interaction is a side."""
    if interaction.comparison is None:
        return False
    query = _words(aliased(Interaction)).where(
        col(Interaction.comparison) == interaction.comparison,
        col(Interaction.tenant) == interaction.tenant,
    )
    return any(_first_words((await connection.execute(_in_order(query))).all()))


def preferred(metric_name: str, value: Any, judged: str, other: str) -> str | None:
    """Which of two interactions a judgement of `judged` puts first; None: it compares them not.

    `value` is in the normal form of `validation.check`.
    """
    order = [identifier for identifier, _ in mentioned(metric_name, value)]
    if metric_name == "preference":
        order.insert(0, judged)
    if not {judged, other} <= set(order):
        return None
    return next(identifier for identifier in order if identifier in (judged, other))


def _words(second: type[Interaction]) -> Select[Any]:
    """What was said of sides of comparisons, and taken back; `second` is the other side."""
    return (
        select(
            col(Feedback.id),
            col(Feedback.retracts),
            taken_back().label("taken_back"),
            col(Feedback.metric_name),
            col(Feedback.value),
            col(Feedback.source),
            col(Feedback.received_at),
            (rater() == asker()).label("own"),
            col(Interaction.comparison),
            col(Interaction.tenant),
            asker().label("asker"),
            col(Interaction.id).label("judged"),
            col(Interaction.version).label("judged_version"),
            col(second.id).label("other"),
            col(second.version).label("other_version"),
        )
        .join(
            Interaction,
            and_(
                col(Feedback.interaction_id) == col(Interaction.id),
                col(Feedback.tenant) == col(Interaction.tenant),
            ),
        )
        .join(
            second,
            and_(
                col(second.comparison) == col(Interaction.comparison),
                col(second.tenant) == col(Interaction.tenant),
                col(second.id) != col(Interaction.id),
            ),
        )
        .where(
            col(Interaction.comparison).is_not(None),
            col(Feedback.metric_name).in_(DECIDING_METRICS),
        )
    )


def _in_order(words: Select[Any]) -> Select[Any]:
    """The words without the retractions, oldest first."""
    word = words.subquery()
    return select(word).where(word.c.retracts.is_(None)).order_by(word.c.received_at, word.c.id)


def _counts(row: Row[Any]) -> bool:
    """Whether a deciding word is of the person who asked, and stands."""
    return bool(row.own) and row.source == HUMAN and not row.taken_back


def _first_words(rows: Iterable[Row[Any]]) -> Iterator[Row[Any]]:
    """The word that decided each comparison."""
    heard: set[str] = set()
    for row in rows:
        if row.comparison not in heard and _winner(row) is not None:
            heard.add(row.comparison)
            yield row


def _winner(row: Row[Any]) -> str | None:
    return preferred(row.metric_name, row.value, row.judged, row.other)


def _decided(row: Row[Any]) -> Decided:
    version = row.judged_version if _winner(row) == row.judged else row.other_version
    return Decided((row.tenant, row.asker), row.received_at, version)
