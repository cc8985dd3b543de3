"""Who took part in a trial (a canary, a watch) and what they thought: the log, read by user.

One query each, in order of time; a user is a tenant's asker. Only live requests count, and only
what people said of what they asked themselves. Comparisons are apart (`comparisons.py`): their
sides belong to no trial, and thumbs on them are no votes on live.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Executable, Row, Select, func, select
from sqlmodel import col

from common.database import Database
from feedback.answer_parts import AnswerParts
from feedback.models import Choice, Feedback, Interaction
from feedback.reading.last_words import asker, later_words, rater, taken_back

_Made = TypeVar("_Made")

HUMAN = "HUMAN"
LIVE = "live"
SHADOW = "shadow"


Place = tuple[datetime, str]
"""Where an answer stands in the log: (`received_at`, `id`)."""

_BATCH = 1_000
"""Rows that are taken at a time: users' requests are served in between."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """A user's first request in a trial; `share` is the newer version's at that time."""

    user: tuple[str, str]
    at: datetime
    role: str
    share: float
    first_token_seconds: float | None
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Vote:
    """One judgement of a user's own answer."""

    user: tuple[str, str]
    at: datetime
    metric_name: str
    value: Any


@dataclass(frozen=True, slots=True)
class FailedRequest:
    """A user's first request that failed."""

    user: tuple[str, str]
    at: datetime


@dataclass(frozen=True, slots=True)
class TrialAnswer:
    """An answer of the trial, for harm metrics; texts leave the log for nothing else."""

    id: str
    user: tuple[str, str]
    at: datetime
    request: dict[str, Any]
    text: str
    message: Mapping[str, Any] | None = None

    @property
    def parts(self) -> AnswerParts:
        """What the answer says and calls."""
        return AnswerParts(self.text) if self.message is None else AnswerParts.of(self.message)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds to the first token and sampled tokens of one answer."""

    first_token_seconds: float | None
    completion_tokens: int


async def exposures(database: Database, trial: str) -> list[Exposure]:
    """Every user of the trial at the first request in it."""
    query = _firsts(trial).order_by("received_at", "id")
    return await _read(database, query, _exposure)


async def failures(database: Database, trial: str) -> list[FailedRequest]:
    """Every user's first failed request in the trial."""
    query = _firsts(trial, status="failed").order_by("received_at", "id")
    return await _read(
        database, query, lambda row: FailedRequest((row.tenant, row.asker), row.received_at)
    )


async def votes(database: Database, trial: str, metrics: Collection[str]) -> list[Vote]:
    """What the trial's users say by these metrics of their own answers in it: their last words.

    A vote that was changed counts from the change on; one that was taken back counts no more.
    """
    query = _votes(_words(metrics).where(col(Interaction.trial) == trial))
    return await _read(database, query, _vote)


async def votes_before(
    database: Database,
    channel: str,
    version: str,
    metrics: Collection[str],
    since: datetime,
    until: datetime,
) -> list[Vote]:
    """What users said within a time of a channel's version's answers in it."""
    words = _words(metrics, until).where(
        col(Interaction.channel) == channel,
        col(Interaction.version) == version,
        col(Interaction.received_at) > since,
        col(Interaction.received_at) <= until,
        col(Feedback.received_at) <= until,
    )
    return await _read(database, _votes(words), _vote)


async def paces_before(
    database: Database, channel: str, version: str, since: datetime, until: datetime, limit: int
) -> list[Pace]:
    """How fast and how long a version's complete answers were, the latest `limit` of them."""
    query = (
        select(col(Interaction.first_token_seconds), col(Interaction.completion_tokens))
        .where(
            col(Interaction.channel) == channel,
            col(Interaction.mode) == LIVE,
            col(Interaction.comparison).is_(None),
            col(Interaction.version) == version,
            col(Interaction.status) == "complete",
            col(Interaction.received_at) > since,
            col(Interaction.received_at) <= until,
        )
        .order_by(col(Interaction.received_at).desc())
        .limit(limit)
    )
    return await _read(
        database, query, lambda row: Pace(row.first_token_seconds, row.completion_tokens)
    )


async def answers_after(
    database: Database,
    trial: str,
    after: Place | None,
    limit: int,
    *,
    with_message: bool = False,
) -> tuple[list[TrialAnswer], Place | None]:
    """The next complete answers of a trial, and where to go on.

    `with_message`: only those that say more than text, such as a tool call.
    """
    query = (
        select(
            col(Interaction.id),
            col(Interaction.tenant),
            asker().label("asker"),
            col(Interaction.received_at),
            col(Interaction.request),
            col(Choice.text),
            col(Choice.message),
        )
        .join(Choice, col(Choice.interaction_id) == col(Interaction.id))
        .where(
            col(Interaction.trial) == trial,
            col(Interaction.mode) == LIVE,
            col(Interaction.status) == "complete",
            col(Interaction.texts_removed_at).is_(None),
            col(Choice.index) == 0,
        )
        .order_by(col(Interaction.received_at), col(Interaction.id))
        .limit(limit)
    )
    if with_message:
        query = query.where(col(Choice.message).is_not(None))
    if after is not None:
        moment, identifier = after
        query = query.where(
            (col(Interaction.received_at) > moment)
            | ((col(Interaction.received_at) == moment) & (col(Interaction.id) > identifier))
        )
    found = await _read(database, query, _answer)
    return found, (found[-1].at, found[-1].id) if found else after


async def shadow_figures(database: Database, channel: str, version: str) -> tuple[int, int]:
    """How many of a version's shadow answers are complete, and how many failed."""
    query = (
        select(col(Interaction.status), func.count().label("answers"))
        .where(
            col(Interaction.channel) == channel,
            col(Interaction.mode) == SHADOW,
            col(Interaction.version) == version,
        )
        .group_by(col(Interaction.status))
    )
    counted = dict(await _read(database, query, lambda row: (str(row.status), int(row.answers))))
    return counted.get("complete", 0), counted.get("failed", 0)


async def served_in(database: Database, trial: str, role: str) -> int:
    """How many requests of a trial a role has answered."""
    query = select(func.count()).where(
        col(Interaction.trial) == trial,
        col(Interaction.mode) == LIVE,
        col(Interaction.role) == role,
    )
    return (await _read(database, query, lambda row: int(row[0])))[0]


def _firsts(trial: str, *, status: str | None = None) -> Select[Any]:
    """Each asker's first live request of the trial (with that status)."""
    order = func.row_number().over(
        partition_by=(col(Interaction.tenant), asker()),
        order_by=(col(Interaction.received_at), col(Interaction.id)),
    )
    inner = select(
        col(Interaction.id),
        col(Interaction.tenant),
        asker().label("asker"),
        col(Interaction.received_at),
        col(Interaction.role),
        col(Interaction.trial_share),
        col(Interaction.first_token_seconds),
        col(Interaction.completion_tokens),
        order.label("place"),
    ).where(col(Interaction.trial) == trial, col(Interaction.mode) == LIVE)
    if status is not None:
        inner = inner.where(col(Interaction.status) == status)
    ranked = inner.subquery()
    return select(ranked).where(ranked.c.place == 1)


def _words(metrics: Collection[str], until: datetime | None = None) -> Select[Any]:
    """What askers said of their own answers, failed ones aside, and what makes it count or not.

    What somebody says of an answer that an engine's death or NaN cut off says nothing about the
    version, and failures have a guardrail of their own.
    """
    return (
        select(
            col(Interaction.tenant),
            asker().label("asker"),
            col(Feedback.id),
            col(Feedback.received_at),
            col(Feedback.metric_name),
            col(Feedback.value),
            col(Feedback.retracts),
            later_words().label("later_words"),
            taken_back(until).label("taken_back"),
        )
        .join(
            Interaction,
            (col(Feedback.interaction_id) == col(Interaction.id))
            & (col(Feedback.tenant) == col(Interaction.tenant)),
        )
        .where(
            col(Interaction.mode) == LIVE,
            col(Interaction.comparison).is_(None),
            col(Interaction.status) != "failed",
            col(Feedback.source) == HUMAN,
            col(Feedback.metric_name).in_(sorted(metrics)),
            rater() == asker(),
        )
    )


def _votes(words: Select[Any]) -> Select[Any]:
    """Those that count, oldest first."""
    word = words.subquery()
    return (
        select(word.c.tenant, word.c.asker, word.c.received_at, word.c.metric_name, word.c.value)
        .where(word.c.retracts.is_(None), word.c.later_words == 0, ~word.c.taken_back)
        .order_by(word.c.received_at, word.c.id)
    )


def _vote(row: Row[Any]) -> Vote:
    return Vote((row.tenant, row.asker), row.received_at, row.metric_name, row.value)


def _exposure(row: Row[Any]) -> Exposure:
    return Exposure(
        user=(row.tenant, row.asker),
        at=row.received_at,
        role=row.role,
        share=row.trial_share,
        first_token_seconds=row.first_token_seconds,
        completion_tokens=row.completion_tokens,
    )


def _answer(row: Row[Any]) -> TrialAnswer:
    return TrialAnswer(
        row.id, (row.tenant, row.asker), row.received_at, row.request, row.text, row.message
    )


async def _read(
    database: Database, query: Executable, made: Callable[[Row[Any]], _Made]
) -> list[_Made]:
    """All rows, each as it is wanted, a batch at a time."""
    found: list[_Made] = []
    async with database.read() as session:
        connection = await session.connection()
        async with connection.stream(query) as rows:
            async for batch in rows.partitions(_BATCH):
                found += [made(row) for row in batch]
    return found
