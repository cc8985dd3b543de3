"""Queries of the log, which run in the caller's transaction."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from feedback.models import Choice, Feedback, Interaction
from feedback.reading.judgements import mentioned
from feedback.reading.latest_judgements import later_judgements, taken_back
from feedback.records import FeedbackRecord, InteractionRecord
from feedback.storage.rows import choice_rows, feedback_row, interaction_row
from feedback.storage.write_plan import KnownInteraction, Outcome, plan_feedback, plan_interactions
from feedback.validation import StoredAnswers
from feedback.visibility import visibility

# Statements of the hot path are built once: building them takes longer than running them.
_INSERT_INTERACTIONS = insert(Interaction)
_INSERT_CHOICES = insert(Choice)
_INSERT_FEEDBACK = insert(Feedback)
# Each finds its rows by one index: with `OR`, or without the tenant, it would scan the table.
_KNOWN = select(Interaction.id, Interaction.tenant, Interaction.mode).add_columns(
    col(Interaction.run_id), col(Interaction.received_at)
)
_KNOWN_BY_ID = _KNOWN.where(col(Interaction.id).in_(bindparam("ids", expanding=True)))
_KNOWN_BY_RUN = _KNOWN.where(
    col(Interaction.tenant) == bindparam("of"),
    col(Interaction.run_id).in_(bindparam("runs", expanding=True)),
)
_DIGESTS = select(Feedback.id, Feedback.digest).where(
    col(Feedback.tenant) == bindparam("of"),
    col(Feedback.id).in_(bindparam("ids", expanding=True)),
)


def write_interactions(
    connection: Connection, records: Sequence[InteractionRecord]
) -> list[Outcome]:
    """Write the records as `plan_interactions` decides; return an outcome for each, in order."""
    if not records:
        return []
    plan = plan_interactions(records, _known(connection, records))
    if not plan.write:
        return plan.outcomes
    if plan.replaced:
        connection.execute(delete(Choice).where(col(Choice.interaction_id).in_(plan.replaced)))
        connection.execute(delete(Interaction).where(col(Interaction.id).in_(plan.replaced)))
    written = plan.write.values()
    connection.execute(_INSERT_INTERACTIONS, [interaction_row(record) for record in written])
    choices = [row for record in written for row in choice_rows(record)]
    if choices:
        connection.execute(_INSERT_CHOICES, choices)
    return plan.outcomes


def write_feedback(connection: Connection, records: Sequence[FeedbackRecord]) -> list[Outcome]:
    """Write new judgements that match their answers; return an outcome for each, in order."""
    if not records:
        return []
    digests = _digests(connection, records)
    judged = {subject.id for record in records for subject in record.subjects}
    new, outcomes = plan_feedback(records, digests, stored_answers(connection, judged))
    if new:
        connection.execute(_INSERT_FEEDBACK, [feedback_row(record) for record in new])
    return outcomes


def stored_answers(connection: Connection, ids: Collection[str]) -> Mapping[str, StoredAnswers]:
    """Return what the log has of these interactions, by id; unknown ones are left out.

    The ids must have been verified for the tenant, since an id belongs to one tenant only.
    """
    interactions = select(
        Interaction.id, Interaction.conversation, Interaction.version, Interaction.comparison
    ).where(col(Interaction.id).in_(ids))
    last_choice = (
        select(Choice.interaction_id, func.max(col(Choice.index)))
        .where(col(Choice.interaction_id).in_(ids))
        .group_by(col(Choice.interaction_id))
    )
    last = {row[0]: row[1] for row in connection.execute(last_choice)}
    return {
        id_: StoredAnswers(
            conversation, last.get(id_, 0) + 1, visibility(comparison).version(version)
        )
        for id_, conversation, version, comparison in connection.execute(interactions)
    }


async def read_interaction(
    session: AsyncSession, tenant: str, interaction_id: str
) -> tuple[Interaction, list[Choice], list[Feedback]] | None:
    """Return one interaction with its choices and the judgements on it that count, oldest first.

    Returns None if it does not exist.
    """
    interaction = await session.get(Interaction, interaction_id)
    if interaction is None or interaction.tenant != tenant:
        return None
    choices = select(Choice).where(col(Choice.interaction_id) == interaction_id)
    preferences = await session.exec(_preferences(tenant, interaction_id))
    compared = {id_ for value in preferences for id_, _ in mentioned("preference", value)}
    return (
        interaction,
        list(await session.exec(choices.order_by(col(Choice.index)))),
        list(await session.exec(_counting_feedback(tenant, interaction_id, compared))),
    )


def _preferences(tenant: str, interaction_id: str) -> SelectOfScalar[Any]:
    return select(Feedback.value).where(
        col(Feedback.tenant) == tenant,
        col(Feedback.interaction_id) == interaction_id,
        col(Feedback.metric_name) == "preference",
        col(Feedback.retracts).is_(None),
    )


def _counting_feedback(
    tenant: str, interaction_id: str, compared: Collection[str]
) -> SelectOfScalar[Feedback]:
    """Select the judgements on an interaction that count.

    `compared` are the interactions that it was compared with: a preference that was sent for one of
    those may supersede one that was sent for this.
    """
    judgement = (
        select(Feedback.id, Feedback.retracts, Feedback.interaction_id)
        .add_columns(later_judgements().label("later_judgements"), taken_back().label("taken_back"))
        .join(Interaction, col(Interaction.id) == col(Feedback.interaction_id))
        .where(
            col(Feedback.tenant) == tenant,
            col(Feedback.interaction_id).in_(sorted({interaction_id, *compared})),
        )
        .subquery()
    )
    counting = select(judgement.c.id).where(
        judgement.c.interaction_id == interaction_id,
        judgement.c.retracts.is_(None),
        judgement.c.later_judgements == 0,
        ~judgement.c.taken_back,
    )
    return (
        select(Feedback)
        .where(col(Feedback.tenant) == tenant, col(Feedback.id).in_(counting))
        .order_by(col(Feedback.received_at), col(Feedback.id))
    )


async def read_feedback(session: AsyncSession, tenant: str, feedback_id: str) -> Feedback | None:
    """Return one row of feedback, or None."""
    return await session.get(Feedback, (tenant, feedback_id))


def _known(connection: Connection, records: Sequence[InteractionRecord]) -> list[KnownInteraction]:
    """Return the stored interactions with the ids or run ids of the records."""
    by_id = connection.execute(_KNOWN_BY_ID, {"ids": [record.id for record in records]})
    found = {row.id: row for row in by_id}
    runs = by_tenant((record.tenant, record.run_id) for record in records)
    for tenant, names in runs.items():
        by_run = connection.execute(_KNOWN_BY_RUN, {"of": tenant, "runs": names})
        found.update((row.id, row) for row in by_run)
    return [KnownInteraction(*row) for row in found.values()]


def _digests(
    connection: Connection, records: Sequence[FeedbackRecord]
) -> dict[tuple[str, str], str]:
    """Return the digests of stored feedback with the records' ids, by tenant and id."""
    return {
        (tenant, row.id): row.digest
        for tenant, ids in by_tenant((record.tenant, record.id) for record in records).items()
        for row in connection.execute(_DIGESTS, {"of": tenant, "ids": ids})
    }


def by_tenant(names: Iterable[tuple[str, str | None]]) -> dict[str, list[str]]:
    """Group names by their tenant, without those that are None."""
    grouped: dict[str, list[str]] = {}
    for tenant, name in names:
        if name is not None:
            grouped.setdefault(tenant, []).append(name)
    return grouped
