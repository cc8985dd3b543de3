"""The log as training reads it: conversations with their answers and the judgements on them.

Rows are streamed: the database sorts them and computes each judgement's `Standing`, the caller
decides which judgements count (`retrain.dataset.filters`), and memory holds one batch of
conversations. Answers that no user saw (mode `shadow`) and the own traffic of runs (`evaluation`,
`counterpart`) are excluded.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from common.database import Database
from feedback.answer_parts import AnswerParts
from feedback.metrics.ordering import Answer, ordering_of
from feedback.reading.judgement_queries import (
    SEEN_MODES,
    LogWindow,
    answers_of,
    interactions_in,
    judgement_rows,
    prompts_of,
    requests_of,
)
from feedback.records import unpack

_BATCH = 50
_BATCH_JUDGEMENTS = 500
"""Judgements after which a batch of conversations is full; bounds memory."""
_CHUNK = 500
_JUDGED: Answer = ("", 0)
"""Stands for the judged answer, which a preference does not name; no answer has this id."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Determines whether a judgement counts; computed by `feedback.reading.latest_judgements`.

    `place_in_week` is its place, from 1, among its rater's judgements of that ISO week (UTC) that
    are neither superseded nor taken back; `place_in_conversation` is its place, from 1, among the
    counting judgements of its conversation.
    """

    later_judgements: int
    taken_back: bool
    place_in_week: int
    place_in_conversation: int


Excluded = Callable[[Standing], str | None]
"""Returns why a judgement does not count, or None if it counts."""


@dataclass(frozen=True, slots=True)
class JudgedBy:
    """Who judged, when, and who requested the judged answer."""

    tenant: str
    rater: str
    requester: str
    received_at: datetime


Wanted = Callable[[JudgedBy], bool]
"""Returns whether a judgement is of interest."""


@dataclass(frozen=True, slots=True)
class LoggedAnswer:
    """One choice of an interaction, with its request.

    `requester` is the request's user, or `anonymous:<thread>`. `version` is None if another model
    answered; token ids are None if they were not recorded.
    """

    interaction_id: str
    choice: int
    text: str
    prompt_token_ids: tuple[int, ...] | None
    token_ids: tuple[int, ...] | None
    finish_reason: str | None
    status: str
    version: str | None
    base_fingerprint: str | None
    requester: str
    received_at: datetime
    texts_removed: bool = False
    """Whether retention has removed the text and the token ids."""
    message: Mapping[str, Any] | None = None
    """The message as it was served, if it contains more than `text`."""

    @property
    def parts(self) -> AnswerParts:
        """The answer's text, tool calls and other parts."""
        if self.message is None:
            return AnswerParts(self.text)
        return AnswerParts.of(self.message)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The latest judgement of one rater on one choice by one metric.

    `rater` is named by the feedback, or is the request's user, or `anonymous:<thread>`; then
    `anonymous` is true.
    """

    id: str
    received_at: datetime
    interaction_id: str
    choice: int
    metric_name: str
    value: Any
    rater: str
    anonymous: bool
    source: str


@dataclass(frozen=True, slots=True)
class JudgedConversation:
    """One conversation, its judged answers, and the judgements in order of arrival.

    `left_out` counts excluded judgements by reason. `requests` are those of answers that have a
    demonstration, by interaction id, since each determines how its prompt was rendered.
    """

    tenant: str
    conversation: str
    messages: list[dict[str, Any]] | None
    tools: list[dict[str, Any]] | None
    answers: tuple[LoggedAnswer, ...]
    judgements: tuple[Judgement, ...]
    left_out: Mapping[str, int]
    requests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AskedPrompt:
    """A request as its client sent it, with its requester."""

    interaction_id: str
    tenant: str
    conversation: str
    requester: str
    received_at: datetime
    request: dict[str, Any]


@dataclass(slots=True)
class _Group:
    tenant: str
    conversation: str
    judgements: list[Judgement] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row[Any], excluded: Excluded) -> None:
        standing = Standing(
            later_judgements=row.later_judgements,
            taken_back=bool(row.taken_back),
            place_in_week=row.place_in_week,
            place_in_conversation=len(self.judgements) + 1,
        )
        reason = excluded(standing)
        if reason is None:
            self.judgements.append(_judgement(row))
        else:
            self.left_out[reason] += 1


async def judged_conversations(
    database: Database, window: LogWindow, excluded: Excluded, wanted: Wanted | None = None
) -> AsyncIterator[JudgedConversation]:
    """Stream the conversations that were judged in the window, by tenant and conversation.

    A judgement for which `excluded` returns a reason is left out and counted under that reason.
    `excluded` is called in order of arrival. Places in a week are counted over whole weeks, also in
    the week in which the window begins. Judgements that are not `wanted` are skipped, not counted.
    """
    async with database.read() as session:
        connection = await session.connection()
        batch: list[_Group] = []
        async for row in await connection.stream(judgement_rows(window)):
            if wanted is not None and not wanted(_judged_by(row)):
                continue
            key = (row.tenant, row.conversation)
            if not batch or (batch[-1].tenant, batch[-1].conversation) != key:
                if _is_full(batch):
                    for conversation in await _complete(connection, window, batch):
                        yield conversation
                    batch = []
                batch.append(_Group(*key))
            batch[-1].add(row, excluded)
        for conversation in await _complete(connection, window, batch):
            yield conversation


def _judged_by(row: Row[Any]) -> JudgedBy:
    return JudgedBy(row.tenant, row.rater_name, row.requester, row.received_at)


def _is_full(batch: Sequence[_Group]) -> bool:
    """Whether a batch is full, by conversations or by judgements."""
    judgements = sum(len(group.judgements) for group in batch)
    return len(batch) >= _BATCH or judgements >= _BATCH_JUDGEMENTS


async def asked_prompts(
    database: Database, window: LogWindow, keep: Callable[[str, str], bool]
) -> AsyncIterator[AskedPrompt]:
    """Stream the answered live chat requests for whose tenant and requester `keep` is true.

    They are ordered by tenant and time, and include repeated questions.
    """
    async with database.read() as session:
        connection = await session.connection()
        batch: list[Row[Any]] = []
        async for row in await connection.stream(prompts_of(window)):
            if not keep(row.tenant, row.requester):
                continue
            batch.append(row)
            if len(batch) == _CHUNK:
                for prompt in await _with_requests(connection, batch):
                    yield prompt
                batch = []
        for prompt in await _with_requests(connection, batch):
            yield prompt


async def count_interactions(database: Database, window: LogWindow) -> int:
    """Return the number of interactions of the window that users saw."""
    async with database.read() as session:
        found = await (await session.connection()).execute(interactions_in(window))
    return int(found.scalar_one())


async def recorded_requests(
    database: Database, ids: Sequence[str]
) -> list[tuple[str, dict[str, Any]]]:
    """Return id and request of these interactions, in that order.

    Interactions whose texts were removed are left out.
    """
    async with database.read() as session:
        found = await _requests(await session.connection(), ids)
    return [(identifier, found[identifier]) for identifier in ids if found.get(identifier)]


def mentioned(metric_name: str, value: Any) -> list[Answer]:
    """Return the answers that a preference or ranking names, best first: ids and choices.

    That of a preference is the other side. `value` is in the normal form of `validation.check`.
    """
    ordering = ordering_of(metric_name, value, _JUDGED)
    return [] if ordering is None else [one for one in ordering.answers if one != _JUDGED]


def _judgement(row: Row[Any]) -> Judgement:
    return Judgement(
        id=row.id,
        received_at=row.received_at,
        interaction_id=row.interaction_id,
        choice=row.choice,
        metric_name=row.metric_name,
        value=row.value,
        rater=row.rater_name,
        anonymous=bool(row.anonymous),
        source=row.source,
    )


async def _complete(
    connection: AsyncConnection, window: LogWindow, groups: Sequence[_Group]
) -> list[JudgedConversation]:
    """Add the answers and the question to each group."""
    wanted = {
        identifier
        for group in groups
        for judgement in group.judgements
        for identifier in _named_by(judgement)
    }
    answers: dict[tuple[str, str], list[LoggedAnswer]] = {}
    for tenant, conversation, answer in await _answers(connection, window, wanted):
        answers.setdefault((tenant, conversation), []).append(answer)
    firsts = [_asked_in(found).interaction_id for found in answers.values()]
    requests = await _requests(connection, sorted({*firsts, *_demonstrated(groups)}))
    return [
        _conversation(group, answers.get((group.tenant, group.conversation), []), requests)
        for group in groups
    ]


def _named_by(judgement: Judgement) -> list[str]:
    others = mentioned(judgement.metric_name, judgement.value)
    return [judgement.interaction_id, *(identifier for identifier, _ in others)]


def _demonstrated(groups: Iterable[_Group]) -> set[str]:
    """Return the ids of the answers that have a demonstration."""
    return {
        judgement.interaction_id
        for group in groups
        for judgement in group.judgements
        if judgement.metric_name == "demonstration"
    }


def _conversation(
    group: _Group,
    answers: Sequence[LoggedAnswer],
    requests: Mapping[str, dict[str, Any]],
) -> JudgedConversation:
    request = requests[_asked_in(answers).interaction_id] if answers else {}
    return JudgedConversation(
        tenant=group.tenant,
        conversation=group.conversation,
        messages=request.get("messages"),
        tools=request.get("tools"),
        answers=tuple(answers),
        judgements=tuple(group.judgements),
        left_out=group.left_out,
        requests={
            identifier: requests[identifier]
            for identifier in sorted(_demonstrated([group]))
            if identifier in requests
        },
    )


def _asked_in(answers: Sequence[LoggedAnswer]) -> LoggedAnswer:
    """Return an answer whose request is still stored; all answers have the same question."""
    return next((answer for answer in answers if not answer.texts_removed), answers[0])


async def _answers(
    connection: AsyncConnection, window: LogWindow, ids: Collection[str]
) -> list[tuple[str, str, LoggedAnswer]]:
    found: list[tuple[str, str, LoggedAnswer]] = []
    for chunk in _chunks(sorted(ids)):
        rows = (await connection.execute(answers_of(chunk))).all()
        found.extend(
            (row.tenant, row.conversation, logged_answer(row))
            for row in rows
            if row.channel == window.channel and row.mode in SEEN_MODES
        )
    return found


def logged_answer(row: Row[Any]) -> LoggedAnswer:
    """Convert a row of `answers_of`."""
    return LoggedAnswer(
        interaction_id=row.id,
        choice=row.choice_index,
        text=row.text,
        prompt_token_ids=_unpacked(row.prompt_token_ids),
        token_ids=_unpacked(row.token_ids),
        finish_reason=row.finish_reason,
        status=row.status,
        version=row.version,
        base_fingerprint=row.base_fingerprint,
        requester=row.requester,
        received_at=row.received_at,
        texts_removed=row.texts_removed_at is not None,
        message=row.message,
    )


def _unpacked(blob: bytes | None) -> tuple[int, ...] | None:
    return tuple(unpack(blob)) if blob else None


async def _requests(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for chunk in _chunks(ids):
        rows = (await connection.execute(requests_of(chunk))).all()
        found.update((row.id, row.request) for row in rows)
    return found


async def _with_requests(
    connection: AsyncConnection, rows: Sequence[Row[Any]]
) -> list[AskedPrompt]:
    requests = await _requests(connection, [row.id for row in rows])
    return [
        AskedPrompt(
            interaction_id=row.id,
            tenant=row.tenant,
            conversation=row.conversation,
            requester=row.requester,
            received_at=row.received_at,
            request=requests[row.id],
        )
        for row in rows
    ]


def _chunks(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
