"""Participants of a trial (a canary or a watch) and their votes, read from the log by user.

Results are in order of time; a user is a pair of tenant and requester. Only live requests count,
and only people's feedback on their own requests. Blind comparisons are read separately
(`feedback.reading.comparisons`): their sides belong to no trial, and thumbs on them are no votes on
live.
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
from feedback.reading.latest_judgements import later_judgements, rater, requester, taken_back

_Made = TypeVar("_Made")

HUMAN = "HUMAN"
LIVE = "live"
SHADOW = "shadow"


LogPosition = tuple[datetime, str]
"""Position of an answer in the log: (`received_at`, `id`)."""

_BATCH = 1_000
"""Rows fetched at once; between two fetches the event loop serves requests."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """A user's first request in a trial; `share` is the newer version's share at that time."""

    user: tuple[str, str]
    at: datetime
    role: str
    share: float
    first_token_seconds: float | None
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Vote:
    """One judgement of a user on an answer to their own request."""

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
    """An answer of the trial, with its texts, which only harm metrics use."""

    id: str
    user: tuple[str, str]
    at: datetime
    request: dict[str, Any]
    text: str
    message: Mapping[str, Any] | None = None

    @property
    def parts(self) -> AnswerParts:
        """The answer's text, tool calls and other parts."""
        return AnswerParts(self.text) if self.message is None else AnswerParts.of(self.message)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds to the first token, and number of sampled tokens, of one answer."""

    first_token_seconds: float | None
    completion_tokens: int


async def exposures(database: Database, trial: str) -> list[Exposure]:
    """Return every user of the trial with their first request in it."""
    query = _firsts(trial).order_by("received_at", "id")
    return await _read(database, query, _exposure)


async def failures(database: Database, trial: str) -> list[FailedRequest]:
    """Return every user's first failed request in the trial."""
    query = _firsts(trial, status="failed").order_by("received_at", "id")
    return await _read(
        database, query, lambda row: FailedRequest((row.tenant, row.requester), row.received_at)
    )


async def votes(database: Database, trial: str, metrics: Collection[str]) -> list[Vote]:
    """Return the latest votes, by these metrics, of the trial's users on their answers in it.

    A changed vote has the time of the change; a vote that was taken back is left out.
    """
    query = _votes(_feedback_rows(metrics).where(col(Interaction.trial) == trial))
    return await _read(database, query, _vote)


async def votes_before(
    database: Database,
    channel: str,
    version: str,
    metrics: Collection[str],
    since: datetime,
    until: datetime,
) -> list[Vote]:
    """Return users' votes, in a span of time, on a version's answers of that span."""
    judgements = _feedback_rows(metrics, until).where(
        col(Interaction.channel) == channel,
        col(Interaction.version) == version,
        col(Interaction.received_at) > since,
        col(Interaction.received_at) <= until,
        col(Feedback.received_at) <= until,
    )
    return await _read(database, _votes(judgements), _vote)


async def paces_before(
    database: Database, channel: str, version: str, since: datetime, until: datetime, limit: int
) -> list[Pace]:
    """Return the pace of a version's latest `limit` complete answers."""
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
    after: LogPosition | None,
    limit: int,
    *,
    with_message: bool = False,
) -> tuple[list[TrialAnswer], LogPosition | None]:
    """Return the next `limit` complete answers of a trial, and the position to continue from.

    `with_message` selects only answers that contain more than text, such as a tool call.
    """
    query = (
        select(
            col(Interaction.id),
            col(Interaction.tenant),
            requester().label("requester"),
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
    """Return how many of a version's shadow answers are complete, and how many failed."""
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
    """Return how many requests of a trial a role has answered."""
    query = select(func.count()).where(
        col(Interaction.trial) == trial,
        col(Interaction.mode) == LIVE,
        col(Interaction.role) == role,
    )
    return (await _read(database, query, lambda row: int(row[0])))[0]


def _firsts(trial: str, *, status: str | None = None) -> Select[Any]:
    """Select each requester's first live request of the trial (with `status`, if given)."""
    order = func.row_number().over(
        partition_by=(col(Interaction.tenant), requester()),
        order_by=(col(Interaction.received_at), col(Interaction.id)),
    )
    inner = select(
        col(Interaction.id),
        col(Interaction.tenant),
        requester().label("requester"),
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


def _feedback_rows(metrics: Collection[str], until: datetime | None = None) -> Select[Any]:
    """Select requesters' feedback on their own answers, and whether it counts.

    Failed answers are left out: an answer that was cut off by a crash of the engine or by NaN says
    nothing about the version's quality, and failures have a separate guardrail.
    """
    return (
        select(
            col(Interaction.tenant),
            requester().label("requester"),
            col(Feedback.id),
            col(Feedback.received_at),
            col(Feedback.metric_name),
            col(Feedback.value),
            col(Feedback.retracts),
            later_judgements().label("later_judgements"),
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
            rater() == requester(),
        )
    )


def _votes(judgements: Select[Any]) -> Select[Any]:
    """Select the judgements that count, oldest first."""
    judgement = judgements.subquery()
    return (
        select(
            judgement.c.tenant,
            judgement.c.requester,
            judgement.c.received_at,
            judgement.c.metric_name,
            judgement.c.value,
        )
        .where(
            judgement.c.retracts.is_(None),
            judgement.c.later_judgements == 0,
            ~judgement.c.taken_back,
        )
        .order_by(judgement.c.received_at, judgement.c.id)
    )


def _vote(row: Row[Any]) -> Vote:
    return Vote((row.tenant, row.requester), row.received_at, row.metric_name, row.value)


def _exposure(row: Row[Any]) -> Exposure:
    return Exposure(
        user=(row.tenant, row.requester),
        at=row.received_at,
        role=row.role,
        share=row.trial_share,
        first_token_seconds=row.first_token_seconds,
        completion_tokens=row.completion_tokens,
    )


def _answer(row: Row[Any]) -> TrialAnswer:
    return TrialAnswer(
        row.id, (row.tenant, row.requester), row.received_at, row.request, row.text, row.message
    )


async def _read(
    database: Database, query: Executable, made: Callable[[Row[Any]], _Made]
) -> list[_Made]:
    """Read all rows in batches, converted by `made`."""
    found: list[_Made] = []
    async with database.read() as session:
        connection = await session.connection()
        async with connection.stream(query) as rows:
            async for batch in rows.partitions(_BATCH):
                found += [made(row) for row in batch]
    return found
