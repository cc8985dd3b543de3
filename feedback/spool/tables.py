"""The spool's tables and queries, which run in the caller's transaction."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlmodel import SQLModel

from feedback.models import Choice, Feedback, Interaction
from feedback.records import FeedbackRecord, InteractionRecord
from feedback.repository import by_tenant, write_feedback, write_interactions
from feedback.spool.rows import feedback_record, interaction_record, plain, plain_subjects
from feedback.storage.write_plan import Outcome, Stored

_OWN = MetaData()
SUBJECTS = Table(
    "feedback_subjects",
    _OWN,
    Column("tenant", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("subjects", JSON, nullable=False),
)
"""The answers that a judgement names; they are checked when it is written to the database."""
REFUSED = Table(
    "refused",
    _OWN,
    Column("number", Integer, primary_key=True),
    Column("refused_at", DateTime(timezone=True), nullable=False),
    Column("kind", String, nullable=False),
    Column("tenant", String, nullable=False),
    Column("id", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("content", JSON, nullable=False),
)
"""Rows that the database refused for good."""
WAITING = Table(
    "waiting",
    _OWN,
    Column("one", Integer, primary_key=True),
    Column("amount", Integer, nullable=False),
)
"""The number of rows in the spool, in a single row kept by triggers; `COUNT(*)` would scan all."""

_TABLES: Mapping[str, Table] = SQLModel.metadata.tables
INTERACTION = _TABLES[str(Interaction.__tablename__)]
CHOICE = _TABLES[str(Choice.__tablename__)]
FEEDBACK = _TABLES[str(Feedback.__tablename__)]
_LOG = (INTERACTION, CHOICE, FEEDBACK)
_ORDERED = (INTERACTION, FEEDBACK)


def create_tables(connection: Connection) -> None:
    """Create missing tables, and add columns that an older version of Pawl did not have."""
    SQLModel.metadata.create_all(connection, tables=list(_LOG))
    _OWN.create_all(connection)
    for table in _ORDERED:
        order = f"CREATE INDEX IF NOT EXISTS spool_{table.name} ON {table.name} (received_at, id)"
        connection.execute(text(order))
        for event, change in (("INSERT", 1), ("DELETE", -1)):
            trigger = f"waiting_{table.name}_{event.lower()} AFTER {event} ON {table.name}"
            counting = WAITING.update().values(amount=WAITING.c.amount + change)
            counted = str(counting.compile(compile_kwargs={"literal_binds": True}))
            connection.execute(text(f"CREATE TRIGGER IF NOT EXISTS {trigger} BEGIN {counted}; END"))
    for table in _LOG:
        known = {column["name"] for column in inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in known:
                kind = column.type.compile(connection.dialect)
                added = f'ALTER TABLE {table.name} ADD COLUMN "{column.name}" {kind}'
                connection.execute(text(added))
    _count_once(connection)


def count_rows(connection: Connection) -> int:
    """Return the number of rows in the spool."""
    return int(connection.execute(select(WAITING.c.amount)).scalar_one())


def _count_once(connection: Connection) -> None:
    """Count the rows of a file that an older version of Pawl has left."""
    if connection.execute(select(WAITING.c.amount)).first() is None:
        queries = (select(func.count()).select_from(table) for table in _ORDERED)
        rows = sum(connection.execute(query).scalar_one() for query in queries)
        connection.execute(insert(WAITING).values(one=1, amount=rows))


def write_rows(
    connection: Connection,
    interactions: Sequence[InteractionRecord],
    feedback: Sequence[FeedbackRecord],
) -> list[Outcome]:
    """Write the rows as the log does; return an outcome for each, in order."""
    outcomes = write_interactions(connection, interactions)
    judged = write_feedback(connection, feedback)
    named = [
        {"tenant": record.tenant, "id": record.id, "subjects": plain_subjects(record)}
        for record, outcome in zip(feedback, judged, strict=True)
        if isinstance(outcome, Stored) and outcome.new
    ]
    if named:
        connection.execute(insert(SUBJECTS), named)
    return [*outcomes, *judged]


def read_oldest(
    connection: Connection, count: int
) -> tuple[list[InteractionRecord], list[FeedbackRecord]]:
    """Return up to `count` of the oldest rows; at equal times, interactions before feedback."""
    interactions, feedback = (_ordered(connection, table, count) for table in _ORDERED)
    moments = [(row["received_at"], 0) for row in interactions] + [
        (row["received_at"], 1) for row in feedback
    ]
    kinds = [kind for _, kind in sorted(moments)[:count]]
    return (
        _interactions(connection, interactions[: kinds.count(0)]),
        _feedback(connection, feedback[: kinds.count(1)]),
    )


def delete_rows(
    connection: Connection, interactions: Collection[str], feedback: Iterable[FeedbackRecord]
) -> None:
    """Delete these rows."""
    if interactions:
        connection.execute(delete(CHOICE).where(CHOICE.c.interaction_id.in_(interactions)))
        connection.execute(delete(INTERACTION).where(INTERACTION.c.id.in_(interactions)))
    for tenant, ids in by_tenant((record.tenant, record.id) for record in feedback).items():
        for table in (SUBJECTS, FEEDBACK):
            those = (table.c.tenant == tenant) & table.c.id.in_(ids)
            connection.execute(delete(table).where(those))


def quarantine(
    connection: Connection,
    record: InteractionRecord | FeedbackRecord,
    reason: str,
    at: datetime,
) -> None:
    """Store a row that the database refused, as JSON."""
    kind = "feedback" if isinstance(record, FeedbackRecord) else "interaction"
    row = {"refused_at": at, "kind": kind, "tenant": record.tenant, "id": record.id}
    connection.execute(insert(REFUSED).values(**row, reason=reason, content=plain(record)))


def _ordered(connection: Connection, table: Table, count: int) -> list[dict[str, Any]]:
    query = select(table).order_by(table.c.received_at, table.c.id).limit(count)
    return [dict(row) for row in connection.execute(query).mappings()]


def _interactions(
    connection: Connection, rows: Sequence[Mapping[str, Any]]
) -> list[InteractionRecord]:
    query = (
        select(CHOICE)
        .where(CHOICE.c.interaction_id.in_([row["id"] for row in rows]))
        .order_by(CHOICE.c.interaction_id, CHOICE.c.index)
    )
    choices: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for choice in connection.execute(query).mappings():
        choices[choice["interaction_id"]].append(dict(choice))
    return [interaction_record(row, choices[row["id"]]) for row in rows]


def _feedback(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[FeedbackRecord]:
    subjects: dict[tuple[str, str], Sequence[Sequence[Any]]] = {}
    for tenant, ids in by_tenant((row["tenant"], row["id"]) for row in rows).items():
        query = select(SUBJECTS).where(SUBJECTS.c.tenant == tenant, SUBJECTS.c.id.in_(ids))
        subjects |= {(tenant, row.id): row.subjects for row in connection.execute(query)}
    return [feedback_record(row, subjects.get((row["tenant"], row["id"]), ())) for row in rows]
