"""The log as training needs it: conversations with their answers and what was said about them.

Everything streams: the database sorts and finds each word's `Standing`, the caller says which
words count (`retrain.filters`), and what is held in memory is one batch of conversations. Answers
that nobody saw (mode `shadow`) and our own traffic (`evaluation`) never enter.
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
from feedback.reading.judgement_queries import (
    SEEN_MODES,
    LogWindow,
    answers_of,
    prompts_of,
    requests_of,
    words_of,
)
from feedback.records import unpack

_BATCH = 50
_BATCH_WORDS = 500
"""Words about a batch of conversations, but for its last; bounds memory."""
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides whether a word counts; `last_words` says how the database finds it.

    `place_in_week` is the word's place, from 1, among those of its rater's words of that ISO week
    (UTC) that are neither replaced nor taken back; `place_in_conversation` its place, from 1, among
    the words of its conversation that count.
    """

    later_words: int
    taken_back: bool
    place_in_week: int
    place_in_conversation: int


Excluded = Callable[[Standing], str | None]
"""Why a word does not count; None: it does."""


@dataclass(frozen=True, slots=True)
class LoggedAnswer:
    """One choice of an interaction, with what it answered.

    `asker` is the request's user, or `anonymous:<thread>`. `version` is None where the answer is
    not Pawl's; token ids are None where they were not recorded.
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
    asker: str
    received_at: datetime
    texts_removed: bool = False
    """For its age: neither text nor token ids are there any more."""
    message: Mapping[str, Any] | None = None
    """The message as it was served, where `text` is not all of it."""

    @property
    def parts(self) -> AnswerParts:
        """What the answer says and calls."""
        if self.message is None:
            return AnswerParts(self.text)
        return AnswerParts.of(self.message)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The last word of one rater on one metric of one choice.

    `rater` is who judged: named by the feedback, else the request's user, else
    `anonymous:<thread>`, flagged `anonymous`.
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
    """One question, its answers that were judged, and the judgements in order of arrival.

    `left_out` counts the words that do not count, by reason. `requests` are those of the answers
    that a demonstration speaks of, by interaction: each says how its own prompt was made.
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
    """A request as its client sent it, and who asked."""

    interaction_id: str
    tenant: str
    conversation: str
    asker: str
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
            later_words=row.later_words,
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
    database: Database, window: LogWindow, excluded: Excluded
) -> AsyncIterator[JudgedConversation]:
    """Stream the conversations that were judged in the window, by tenant and conversation.

    A word that `excluded` gives a reason for is counted under it and left out. It is asked in order
    of arrival, and for the whole of the week that the window opens in the places are counted.
    """
    async with database.read() as session:
        connection = await session.connection()
        batch: list[_Group] = []
        async for row in await connection.stream(words_of(window)):
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


def _is_full(batch: Sequence[_Group]) -> bool:
    """A few crowded conversations are as much as many that one user judged."""
    words = sum(len(group.judgements) for group in batch)
    return len(batch) >= _BATCH or words >= _BATCH_WORDS


async def asked_prompts(
    database: Database, window: LogWindow, keep: Callable[[str, str], bool]
) -> AsyncIterator[AskedPrompt]:
    """Stream the answered live chat requests whose tenant and asker `keep` says yes to.

    Ordered by tenant and time; a question asked twice comes twice.
    """
    async with database.read() as session:
        connection = await session.connection()
        batch: list[Row[Any]] = []
        async for row in await connection.stream(prompts_of(window)):
            if not keep(row.tenant, row.asker):
                continue
            batch.append(row)
            if len(batch) == _CHUNK:
                for prompt in await _with_requests(connection, batch):
                    yield prompt
                batch = []
        for prompt in await _with_requests(connection, batch):
            yield prompt


def mentioned(metric_name: str, value: Any) -> list[tuple[str, int]]:
    """The answers that a comparing value names, best first: interaction id and choice.

    Takes values in the normal form of `validation.check`.
    """
    if metric_name == "preference":
        return [(value["over"], value["choice"])]
    if metric_name == "ranking":
        return [(place["id"], place["choice"]) for place in value]
    return []


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
    """The answers of which somebody said what a better one would be."""
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
    """An answer whose request tells the question: all were asked the same, some long ago."""
    return next((answer for answer in answers if not answer.texts_removed), answers[0])


async def _answers(
    connection: AsyncConnection, window: LogWindow, ids: Collection[str]
) -> list[tuple[str, str, LoggedAnswer]]:
    found: list[tuple[str, str, LoggedAnswer]] = []
    for chunk in _chunks(sorted(ids)):
        rows = (await connection.execute(answers_of(chunk))).all()
        found.extend(
            (row.tenant, row.conversation, _answer(row))
            for row in rows
            if row.channel == window.channel and row.mode in SEEN_MODES
        )
    return found


def _answer(row: Row[Any]) -> LoggedAnswer:
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
        asker=row.asker,
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
            asker=row.asker,
            received_at=row.received_at,
            request=requests[row.id],
        )
        for row in rows
    ]


def _chunks(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
