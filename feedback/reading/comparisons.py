"""Decisions of blind comparisons. `feedback.visibility` hides the versions until then.

The first preference or ranking that names both sides decides a comparison and reveals the versions,
also where it calls both equally good (`tie`, a group of a ranking) or both bad. Later ones do not
count, because their rater may have seen the versions. A decision that was taken back does not count
either, but the versions stay visible.
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
from feedback.metrics.ordering import ordering_of
from feedback.models import Feedback, Interaction
from feedback.reading.latest_judgements import rater, requester, taken_back

HUMAN = "HUMAN"
DECIDING_METRICS = ("preference", "ranking")


@dataclass(frozen=True, slots=True)
class DecidedComparison:
    """A comparison that its requester decided at the time `at`.

    `version` is the one that won, or None if neither did: both were equally good, or `both_bad`.
    """

    user: tuple[str, str]
    at: datetime
    version: str | None
    both_bad: bool = False


@dataclass(frozen=True, slots=True)
class ComparisonOutcome:
    """What a judgement says of two interactions: the id of the better one, or None for a tie."""

    winner: str | None
    both_bad: bool = False


async def decided_comparisons(
    database: Database, channel: str, versions: tuple[str, str], since: datetime
) -> list[DecidedComparison]:
    """Return the comparisons of two versions since `since` that their own requesters decided.

    They are in the order of the decisions; a user may have several.
    """
    one, other = versions
    second = aliased(Interaction)
    query = _feedback_rows(second).where(
        col(Interaction.channel) == channel,
        col(Interaction.received_at) > since,
        or_(
            and_(col(Interaction.version) == one, col(second.version) == other),
            and_(col(Interaction.version) == other, col(second.version) == one),
        ),
    )
    async with database.read() as session:
        rows = (await (await session.connection()).execute(_in_order(query))).all()
    return [_decided(row, said) for row, said in _deciding_judgements(rows) if _counts(row)]


async def is_decided(connection: AsyncConnection, interaction: Interaction) -> bool:
    """Return whether the comparison of which the interaction is a side has been decided."""
    if interaction.comparison is None:
        return False
    query = _feedback_rows(aliased(Interaction)).where(
        col(Interaction.comparison) == interaction.comparison,
        col(Interaction.tenant) == interaction.tenant,
    )
    return any(_deciding_judgements((await connection.execute(_in_order(query))).all()))


def outcome_of(metric_name: str, value: Any, judged: str, other: str) -> ComparisonOutcome | None:
    """Return what a judgement says of two interaction ids, or None if it compares others.

    The judgement is one of the interaction `judged`; `value` is in the normal form of
    `validation.check`. Of several choices of an interaction the best counts.
    """
    ordering = ordering_of(metric_name, value, (judged, 0))
    if ordering is None or not {judged, other} <= {id_ for id_, _ in ordering.answers}:
        return None
    groups = ({id_ for id_, _ in group} & {judged, other} for group in ordering.groups)
    best = next(group for group in groups if group)
    winner = best.pop() if len(best) == 1 else None
    return ComparisonOutcome(winner, both_bad=ordering.both_bad)


def _feedback_rows(second: type[Interaction]) -> Select[Any]:
    """Select the feedback on sides of comparisons; `second` is the other side."""
    return (
        select(
            col(Feedback.id),
            col(Feedback.retracts),
            taken_back().label("taken_back"),
            col(Feedback.metric_name),
            col(Feedback.value),
            col(Feedback.source),
            col(Feedback.received_at),
            (rater() == requester()).label("own"),
            col(Interaction.comparison),
            col(Interaction.tenant),
            requester().label("requester"),
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


def _in_order(judgements: Select[Any]) -> Select[Any]:
    """Select the judgements without the retractions, oldest first."""
    judgement = judgements.subquery()
    return (
        select(judgement)
        .where(judgement.c.retracts.is_(None))
        .order_by(judgement.c.received_at, judgement.c.id)
    )


def _counts(row: Row[Any]) -> bool:
    """Whether a decision is by the human who requested the comparison, and not taken back."""
    return bool(row.own) and row.source == HUMAN and not row.taken_back


def _deciding_judgements(rows: Iterable[Row[Any]]) -> Iterator[tuple[Row[Any], ComparisonOutcome]]:
    """Yield the judgement that decided each comparison, and what it says."""
    decided: set[str] = set()
    for row in rows:
        outcome = outcome_of(row.metric_name, row.value, row.judged, row.other)
        if row.comparison not in decided and outcome is not None:
            decided.add(row.comparison)
            yield row, outcome


def _decided(row: Row[Any], outcome: ComparisonOutcome) -> DecidedComparison:
    versions = {row.judged: row.judged_version, row.other: row.other_version, None: None}
    return DecidedComparison(
        user=(row.tenant, row.requester),
        at=row.received_at,
        version=versions[outcome.winner],
        both_bad=outcome.both_bad,
    )
