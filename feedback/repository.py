"""Queries of the log. They run in the caller's transaction and commit nothing."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, bindparam, case, delete, func, insert, or_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from feedback.models import Choice, Feedback, Interaction
from feedback.records import FeedbackRecord, InteractionRecord
from feedback.rows import choice_rows, feedback_row, interaction_row
from feedback.validation import StoredAnswers
from feedback.write_plan import KnownInteraction, Outcome, plan_feedback, plan_interactions

# Statements of the hot path are made once: making them costs more than the database does.
_INSERT_INTERACTIONS = insert(Interaction)
_INSERT_CHOICES = insert(Choice)
_INSERT_FEEDBACK = insert(Feedback)
_ID_KNOWN = col(Interaction.id).in_(bindparam("ids", expanding=True))
_RUN_KNOWN = col(Interaction.run_id).in_(bindparam("runs", expanding=True))
_KNOWN = select(Interaction.id, Interaction.tenant, Interaction.mode).add_columns(
    col(Interaction.run_id), col(Interaction.received_at)
)
_KNOWN_BY_ID = _KNOWN.where(_ID_KNOWN)
_KNOWN_BY_ID_OR_RUN = _KNOWN.where(or_(_ID_KNOWN, _RUN_KNOWN))


def write_interactions(
    connection: Connection, records: Sequence[InteractionRecord]
) -> list[Outcome]:
    """Write the records that are to be written (`upserts`); an outcome for each, in order."""
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
    """Write the judgements that are new and fit what they judge; an outcome for each, in order."""
    if not records:
        return []
    ids = {record.id for record in records}
    query = select(Feedback.tenant, Feedback.id, Feedback.digest).where(col(Feedback.id).in_(ids))
    digests = {(tenant, id_): digest for tenant, id_, digest in connection.execute(query)}
    judged = {subject.id for record in records for subject in record.subjects}
    new, outcomes = plan_feedback(records, digests, stored_answers(connection, judged))
    if new:
        connection.execute(_INSERT_FEEDBACK, [feedback_row(record) for record in new])
    return outcomes


def stored_answers(connection: Connection, ids: Collection[str]) -> Mapping[str, StoredAnswers]:
    """What the log knows of these interactions, by id; those it does not know are left out.

    The ids must have been found authentic for the tenant: an id belongs to one tenant only.
    """
    blind = col(Interaction.comparison).is_not(None)
    version = case((blind, None), else_=col(Interaction.version))
    interactions = select(Interaction.id, Interaction.conversation, version).where(
        col(Interaction.id).in_(ids)
    )
    last_choice = (
        select(Choice.interaction_id, func.max(col(Choice.index)))
        .where(col(Choice.interaction_id).in_(ids))
        .group_by(col(Choice.interaction_id))
    )
    last = {row[0]: row[1] for row in connection.execute(last_choice)}
    return {
        id_: StoredAnswers(conversation, last.get(id_, 0) + 1, version)
        for id_, conversation, version in connection.execute(interactions)
    }


async def read_interaction(
    session: AsyncSession, tenant: str, interaction_id: str
) -> tuple[Interaction, list[Choice], list[Feedback]] | None:
    """One interaction with its choices and its feedback, oldest first; None where there is none."""
    interaction = await session.get(Interaction, interaction_id)
    if interaction is None or interaction.tenant != tenant:
        return None
    choices = select(Choice).where(col(Choice.interaction_id) == interaction_id)
    judgements = select(Feedback).where(
        col(Feedback.tenant) == tenant, col(Feedback.interaction_id) == interaction_id
    )
    return (
        interaction,
        list(await session.exec(choices.order_by(col(Choice.index)))),
        list(await session.exec(judgements.order_by(col(Feedback.received_at), col(Feedback.id)))),
    )


def _known(connection: Connection, records: Sequence[InteractionRecord]) -> list[KnownInteraction]:
    values: dict[str, object] = {"ids": [record.id for record in records]}
    query = _KNOWN_BY_ID
    runs = [record.run_id for record in records if record.run_id is not None]
    if runs:
        query, values["runs"] = _KNOWN_BY_ID_OR_RUN, runs
    return [KnownInteraction(*row) for row in connection.execute(query, values)]
