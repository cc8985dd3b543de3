"""Retention: removes old texts from the log, keeping rows and numbers.

Removed are requests, answers, token ids, rationales, tags, and values that are texts. Kept are
users, times, versions, numbers of tokens, durations, thumbs, ratings and preferences. It works in
small transactions, so that other writers do not wait long.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Connection, bindparam, func, select, update
from sqlmodel import col

from common.database import Database
from feedback.config import BUILT_IN_METRICS, FeedbackConfig
from feedback.models import Choice, Feedback, Interaction

BATCH = 200
"""Rows per transaction; one takes some milliseconds."""
PAUSE_SECONDS = 0.02
"""Seconds between two transactions, in which others can write."""
BUILT_IN_TEXTS = frozenset({"comment", "demonstration"})

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Texts:
    """Numbers of rows that have texts, or had them before removal."""

    interactions: int
    feedback: int


def is_text(metric_name: str, value: Any, config: FeedbackConfig) -> bool:
    """Return whether a judgement's value is free text.

    A string of a metric that the settings no longer define counts as free text.
    """
    if metric_name in BUILT_IN_METRICS:
        return metric_name in BUILT_IN_TEXTS
    metric = config.metrics.get(metric_name)
    return isinstance(value, str) if metric is None else metric.type == "text"


async def texts_due(database: Database, before: datetime) -> Texts:
    """Count the rows received before `before` whose texts are still there."""
    async with database.read() as session:
        connection = await session.connection()
        asked = await connection.execute(_counted(Interaction, before))
        judged = await connection.execute(_counted(Feedback, before))
        return Texts(asked.scalar_one(), judged.scalar_one())


async def oldest_text(database: Database) -> datetime | None:
    """Return when the oldest row that still has texts was received, or None."""
    async with database.read() as session:
        connection = await session.connection()
        found = [
            (await connection.execute(_oldest(table))).scalar() for table in (Interaction, Feedback)
        ]
    return min((moment for moment in found if moment is not None), default=None)


async def remove_texts(
    database: Database,
    before: datetime,
    now: datetime,
    config: FeedbackConfig,
    *,
    sleep: Sleep = asyncio.sleep,
    go_on: Callable[[], bool] = lambda: True,
) -> Texts:
    """Remove the texts of rows received before `before`; return the numbers of rows.

    Stops after the current batch once `go_on` returns false.
    """

    async def all_of(work: Callable[[Connection], int]) -> int:
        removed = 0
        while go_on() and (batch := await database.transaction(work)):
            removed += batch
            await sleep(PAUSE_SECONDS)
        return removed

    return Texts(
        interactions=await all_of(lambda connection: _from_interactions(connection, before, now)),
        feedback=await all_of(lambda connection: _from_feedback(connection, before, now, config)),
    )


def _from_interactions(connection: Connection, before: datetime, now: datetime) -> int:
    due = (
        select(col(Interaction.id))
        .where(col(Interaction.texts_removed_at).is_(None), col(Interaction.received_at) < before)
        .order_by(col(Interaction.received_at))
        .limit(BATCH)
        # Another server may be doing the same.
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.execute(due).scalars())
    if not ids:
        return 0
    _overwrite(connection)
    connection.execute(
        update(Interaction)
        .where(col(Interaction.id).in_(ids))
        .values(request={}, prompt_token_ids=None, texts_removed_at=now)
    )
    connection.execute(
        update(Choice)
        .where(col(Choice.interaction_id).in_(ids))
        .values(text="", token_ids=None, message=None)
    )
    return len(ids)


def _from_feedback(
    connection: Connection, before: datetime, now: datetime, config: FeedbackConfig
) -> int:
    due = (
        select(
            col(Feedback.tenant), col(Feedback.id), col(Feedback.metric_name), col(Feedback.value)
        )
        .where(col(Feedback.texts_removed_at).is_(None), col(Feedback.received_at) < before)
        .order_by(col(Feedback.received_at))
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    rows = connection.execute(due).all()
    if not rows:
        return 0
    _overwrite(connection)
    keys = [{"of": row.tenant, "key": row.id} for row in rows]
    connection.execute(_JUDGED.values(rationale=None, tags={}, texts_removed_at=now), keys)
    texts = [
        key
        for key, row in zip(keys, rows, strict=True)
        if is_text(row.metric_name, row.value, config)
    ]
    if texts:
        connection.execute(_JUDGED.values(value=JSON.NULL), texts)
    return len(rows)


_JUDGED = update(Feedback).where(
    col(Feedback.tenant) == bindparam("of"), col(Feedback.id) == bindparam("key")
)


def _overwrite(connection: Connection) -> None:
    """Make SQLite overwrite freed space with zeros; otherwise texts stay readable in the file."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")


def _counted(table: type[Interaction] | type[Feedback], before: datetime) -> Any:
    return (
        select(func.count())
        .select_from(table)
        .where(col(table.texts_removed_at).is_(None), col(table.received_at) < before)
    )


def _oldest(table: type[Interaction] | type[Feedback]) -> Any:
    return select(func.min(col(table.received_at))).where(col(table.texts_removed_at).is_(None))
