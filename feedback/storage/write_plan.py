"""Decides which rows of a batch are written, given the rows that exist. Pure.

An application's report never overwrites an answer of the server, in whatever order they arrive. A
tenant's run id identifies one interaction. Feedback with the same id is written once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from feedback.errors import ConflictError, InvalidInputError
from feedback.records import FeedbackRecord, InteractionRecord
from feedback.validation import StoredAnswers, check_against_log

EXTERNAL = "external"


class Stored(NamedTuple):
    """The id under which a row is stored, and whether it is new.

    For new feedback, `version` is the version that gave the answer, if the log has it.
    """

    id: str
    new: bool
    version: str | None = None


Outcome = Stored | ConflictError | InvalidInputError


class KnownInteraction(NamedTuple):
    """The columns of a stored interaction that the plan needs."""

    id: str
    tenant: str
    mode: str
    run_id: str | None
    received_at: datetime


@dataclass(slots=True)
class InteractionPlan:
    """The records to write by id; `replaced` are the ids that exist; outcomes are in order."""

    write: dict[str, InteractionRecord] = field(default_factory=dict)
    replaced: set[str] = field(default_factory=set)
    outcomes: list[Outcome] = field(default_factory=list)


def plan_interactions(
    records: Sequence[InteractionRecord], known: Iterable[KnownInteraction]
) -> InteractionPlan:
    """Decide for each record, in order, given the stored rows and the earlier records."""
    plan = InteractionPlan()
    held = {interaction.id: interaction for interaction in known}
    runs = {(row.tenant, row.run_id): row.id for row in held.values() if row.run_id is not None}
    before = frozenset(held)
    for record in records:
        settled = _settled(record, held, runs)
        earlier = held.get(settled.id)
        plan.outcomes.append(Stored(settled.id, new=earlier is None))
        if earlier is not None and earlier.mode != EXTERNAL and record.mode == EXTERNAL:
            continue
        plan.write[settled.id] = settled
        held[settled.id] = _known(settled)
        if settled.run_id is not None:
            runs[settled.tenant, settled.run_id] = settled.id
    plan.replaced = set(plan.write) & before
    return plan


def plan_feedback(
    records: Sequence[FeedbackRecord],
    digests: Mapping[tuple[str, str], str],
    answers: Mapping[str, StoredAnswers],
) -> tuple[list[FeedbackRecord], list[Outcome]]:
    """Return the new rows, and an outcome for each record, in order.

    `digests` are the stored ones by tenant and id; `answers` are the stored subjects.
    """
    seen = dict(digests)
    new: list[FeedbackRecord] = []
    outcomes: list[Outcome] = []
    for record in records:
        digest = seen.get((record.tenant, record.id))
        if digest is None:
            outcome = _first(record, answers)
            if isinstance(outcome, Stored):
                seen[record.tenant, record.id] = record.digest
                new.append(record)
            outcomes.append(outcome)
        elif digest == record.digest:
            outcomes.append(Stored(record.id, new=False))
        else:
            outcomes.append(ConflictError("id"))
    return new, outcomes


def _first(record: FeedbackRecord, answers: Mapping[str, StoredAnswers]) -> Outcome:
    try:
        check_against_log(record.subjects, answers)
    except InvalidInputError as error:
        return error
    judged = answers.get(record.interaction_id)
    return Stored(record.id, new=True, version=None if judged is None else judged.version)


def _settled(
    record: InteractionRecord,
    held: Mapping[str, KnownInteraction],
    runs: Mapping[tuple[str, str], str],
) -> InteractionRecord:
    """Return the record with the id, the run id and the time of arrival that the log has for it."""
    run = "" if record.run_id is None else runs.get((record.tenant, record.run_id), "")
    own = held.get(record.id)
    if own is None and record.mode == EXTERNAL:
        own = held.get(run)
    if own is None:
        return replace(record, run_id=None) if run else record
    run_id = own.run_id if run not in ("", own.id) else record.run_id or own.run_id
    return replace(record, id=own.id, received_at=own.received_at, run_id=run_id)


def _known(record: InteractionRecord) -> KnownInteraction:
    return KnownInteraction(
        record.id, record.tenant, record.mode, record.run_id, record.received_at
    )
