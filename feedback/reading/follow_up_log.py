"""The log as implicit signals read it: answers, and what their users did next.

One tenant's requests are read by user and time; the database sorts them, without their texts. The
texts are read only of requests that closely follow another one of the same user. Memory holds one
user's open conversations and one batch of completed ones.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from common.database import Database
from feedback.reading.follow_up_queries import (
    answered_requests,
    explicit_judgements,
    next_tenant,
)
from feedback.reading.follow_ups import AnsweredRequest, TrackedConversation, Tracker, Tracking
from feedback.reading.judgement_queries import LogWindow, answers_of, requests_of
from feedback.reading.judgements import LoggedAnswer, logged_answer, mentioned

_CHUNK = 200
"""Requests whose texts are in memory at the same time."""
_BATCH = 50

Answered = tuple[str, int]
"""An answer: interaction id and choice."""


@dataclass(frozen=True, slots=True)
class FollowedConversation:
    """One user's requests with the same conversation, their answers, and what followed them.

    `judged` are the answers of which a person said something explicitly.
    """

    tenant: str
    requester: str
    anonymous: bool
    tracked: TrackedConversation
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    answers: tuple[LoggedAnswer, ...]
    judged: frozenset[Answered]


@dataclass(slots=True)
class FollowUpLog:
    """Reads what users did after answers. `unmatched` counts what continues no known answer."""

    database: Database
    window: LogWindow
    tracking: Tracking
    unmatched: int = field(default=0, init=False)

    async def conversations(self) -> AsyncIterator[FollowedConversation]:
        """Stream the conversations in which a user did something after an answer.

        Places in a week are counted over whole weeks, so what happened before the window, in the
        week in which it begins, is included.
        """
        async with self.database.read() as session:
            connection = await session.connection()
            for tenant in await self._tenants(connection):
                async for batch in self._batches(connection, tenant):
                    for conversation in await _complete(connection, self.window, tenant, batch):
                        yield conversation

    async def _tenants(self, connection: AsyncConnection) -> list[str]:
        if self.window.tenants is not None:
            return sorted(self.window.tenants)
        found: list[str] = []
        while tenant := await connection.scalar(next_tenant(found[-1] if found else "")):
            found.append(tenant)
        return found

    async def _batches(
        self, connection: AsyncConnection, tenant: str
    ) -> AsyncIterator[list["_Followed"]]:
        users = _Users(tenant, self.tracking)
        batch: list[_Followed] = []
        query = answered_requests(self.window, tenant, self._since())
        async with connection.stream(query) as stream:
            async for rows in stream.partitions(_CHUNK):
                requests = await _requests(connection, users.needed(rows))
                for row in rows:
                    batch += users.add(row, requests.get(row.id))
                while len(batch) >= _BATCH:
                    yield batch[:_BATCH]
                    batch = batch[_BATCH:]
        batch += users.close()
        for start in range(0, len(batch), _BATCH):
            yield batch[start : start + _BATCH]
        self.unmatched += users.unmatched

    def _since(self) -> datetime | None:
        """Return the start of the week in which the window begins, and some time before it."""
        if self.window.since is None:
            return None
        day = self.window.since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return day - timedelta(days=day.weekday()) - self.tracking.within


_Followed = tuple[str, bool, TrackedConversation]
"""Requester, whether it is anonymous, and a conversation."""


class _Users:
    """Follows one user after another."""

    def __init__(self, tenant: str, tracking: Tracking) -> None:
        self._tenant, self._tracking = tenant, tracking
        self._user: tuple[str, bool] = ("", True)
        self._last: datetime | None = None
        self._tracker = Tracker(tenant, tracking)
        self._unmatched = 0

    @property
    def unmatched(self) -> int:
        return self._unmatched + self._tracker.unmatched

    def needed(self, rows: Sequence[Row[Any]]) -> list[str]:
        """Return the ids of the requests whose content is needed: they follow another closely."""
        user, last, found = self._user, self._last, []
        for row in rows:
            same = last is not None and _user(row) == user
            if same and row.received_at - last <= self._tracking.within:
                found.append(row.id)
            user, last = _user(row), row.received_at
        return found

    def add(self, row: Row[Any], request: Mapping[str, Any] | None) -> list[_Followed]:
        done = [] if _user(row) == self._user else self.close()
        self._user, self._last = _user(row), row.received_at
        return done + self._of_user(self._tracker.add(_asked(row), request))

    def close(self) -> list[_Followed]:
        done = self._of_user(self._tracker.close())
        self._unmatched += self._tracker.unmatched
        self._tracker = Tracker(self._tenant, self._tracking)
        return done

    def _of_user(self, found: Iterable[TrackedConversation]) -> list[_Followed]:
        return [(*self._user, one) for one in found]


def _user(row: Row[Any]) -> tuple[str, bool]:
    return row.requester, row.user is None


def _asked(row: Row[Any]) -> AnsweredRequest:
    duration = timedelta(seconds=row.duration_seconds or 0.0)
    return AnsweredRequest(row.id, row.conversation, row.received_at, row.received_at + duration)


async def _requests(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    if not ids:
        return {}
    return {row.id: row.request for row in await connection.execute(requests_of(ids))}


async def _complete(
    connection: AsyncConnection, window: LogWindow, tenant: str, batch: Sequence[_Followed]
) -> list[FollowedConversation]:
    """Add the question, the answers and what was said of them explicitly."""
    ids = [asked.id for _, _, tracked in batch for asked in tracked.attempts]
    answers: dict[str, list[LoggedAnswer]] = {}
    for row in await connection.execute(answers_of(ids)):
        answers.setdefault(row.id, []).append(logged_answer(row))
    requests = await _requests(connection, [tracked.attempts[0].id for _, _, tracked in batch])
    judged = await _judged(connection, window, tenant, ids)
    return [_followed(tenant, one, requests, answers, judged) for one in batch]


def _followed(
    tenant: str,
    followed: _Followed,
    requests: Mapping[str, Mapping[str, Any]],
    answers: Mapping[str, Sequence[LoggedAnswer]],
    judged: Mapping[str, Sequence[Answered]],
) -> FollowedConversation:
    requester, anonymous, tracked = followed
    request = requests.get(tracked.attempts[0].id, {})
    return FollowedConversation(
        tenant=tenant,
        requester=requester,
        anonymous=anonymous,
        tracked=tracked,
        messages=request.get("messages", []),
        tools=request.get("tools"),
        answers=tuple(one for asked in tracked.attempts for one in answers.get(asked.id, ())),
        judged=frozenset(one for asked in tracked.attempts for one in judged.get(asked.id, ())),
    )


async def _judged(
    connection: AsyncConnection, window: LogWindow, tenant: str, ids: Sequence[str]
) -> dict[str, list[Answered]]:
    """Return the answers of which people said something, by interaction."""
    found: dict[str, list[Answered]] = {}
    for row in await connection.execute(explicit_judgements(tenant, ids, window.until)):
        others = mentioned(row.metric_name, row.value) if row.value is not None else []
        for answer in ((row.interaction_id, row.choice), *others):
            found.setdefault(answer[0], []).append(answer)
    return found
