"""Group commit: a batch of rows in one transaction; a row that the database refuses fails alone."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from common.database import Database
from feedback.errors import RowRejectedError
from feedback.ports import RecorderObserver
from feedback.records import FeedbackRecord, InteractionRecord, without_texts
from feedback.repository import write_feedback, write_interactions
from feedback.storage.database_errors import is_outage
from feedback.storage.write_plan import EXTERNAL, Outcome, Stored

Record = InteractionRecord | FeedbackRecord
Row = TypeVar("Row")
Result = TypeVar("Result")


async def written(
    rows: Sequence[Row],
    write: Callable[[Sequence[Row]], Awaitable[Sequence[Result]]],
    refuse: Callable[[Row, Exception], Result],
) -> list[Result]:
    """Write the rows with `write`; bisect a batch that fails, down to the row that is to blame.

    Returns the results in order; that of a refused row is from `refuse`. Raises the errors for
    which `is_outage` is true.
    """
    try:
        return list(await write(rows))
    except Exception as error:
        if is_outage(error):
            raise
        if len(rows) == 1:
            return [refuse(rows[0], error)]
    middle = len(rows) // 2
    first = await written(rows[:middle], write, refuse)
    return first + await written(rows[middle:], write, refuse)


async def in_one_transaction(database: Database, rows: Sequence[Record]) -> list[Outcome]:
    """Write the rows in one transaction; return the outcomes, interactions before feedback.

    Raises the database's errors. After an `IntegrityError` the transaction is tried once more.
    """
    try:
        return await database.transaction(lambda connection: _write(connection, rows))
    except IntegrityError:  # another server may have inserted the same row after the lookup
        return await database.transaction(lambda connection: _write(connection, rows))


def reduced(rows: Iterable[Record]) -> list[InteractionRecord]:
    """Return the server's own answers among refused rows, without texts (`without_texts`)."""
    return [
        without_texts(row, RowRejectedError.__name__)
        for row in rows
        if isinstance(row, InteractionRecord) and row.mode != EXTERNAL
    ]


def split_by_kind(rows: Sequence[Record]) -> tuple[list[InteractionRecord], list[FeedbackRecord]]:
    """Split rows into interactions and feedback, in order."""
    return (
        [row for row in rows if isinstance(row, InteractionRecord)],
        [row for row in rows if isinstance(row, FeedbackRecord)],
    )


def observe_new_feedback(
    observer: RecorderObserver, rows: Sequence[Record], outcomes: Sequence[Outcome | Exception]
) -> None:
    """Report new judgements and new retractions to the observer."""
    for row, outcome in zip(rows, outcomes, strict=True):
        if not (isinstance(row, FeedbackRecord) and isinstance(outcome, Stored) and outcome.new):
            continue
        if row.retracts is None:
            observer.feedback_stored(row.metric_name, outcome.version)
        else:
            observer.feedback_retracted(row.metric_name)


def _write(connection: Connection, rows: Sequence[Record]) -> list[Outcome]:
    interactions, feedback = split_by_kind(rows)
    outcomes = write_interactions(connection, interactions)
    names = {
        record.id: outcome.id
        for record, outcome in zip(interactions, outcomes, strict=True)
        if isinstance(outcome, Stored) and outcome.id != record.id
    }
    return [
        *outcomes,
        *write_feedback(connection, [_renamed(record, names) for record in feedback]),
    ]


def _renamed(record: FeedbackRecord, names: dict[str, str]) -> FeedbackRecord:
    """Return the record with the id under which the database has its interaction."""
    name = names.get(record.interaction_id)
    return record if name is None else replace(record, interaction_id=name)
