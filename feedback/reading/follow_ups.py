"""Find what a user did after an answer: asked again, or wrote the next message. Pure.

A `Tracker` takes one user's answered requests in order of time. It finds the conversation that a
request continues by its hash: that of its messages without the last answer and what follows. So a
request whose earlier messages or tools were changed continues nothing, and is counted.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from feedback.reading.next_messages import NextMessage, has_answer, next_message

OPEN_MAX = 512
"""Conversations of one user that are followed at the same time; bounds memory."""
EACH_MAX = 16
"""Requests for the same conversation, and next messages, that are kept."""


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """One answered request. `finished_at` is when its last token was sent."""

    id: str
    conversation: str
    received_at: datetime
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A request that goes on from an answer, with the user's next message.

    `place_in_week` is its place, from 1, among all that the user did after answers in that ISO week
    (UTC).
    """

    interaction_id: str
    received_at: datetime
    message: NextMessage
    place_in_week: int


@dataclass(slots=True)
class TrackedConversation:
    """One user's requests with the same conversation, oldest first, and what followed them.

    `last` is the time of the latest of these requests. `repeats` are the places in the week (as in
    `FollowUp`) of the requests but the first. `turned` is whether the conversation contains an
    answer, so that it is not only a first question.
    """

    conversation: str
    last: datetime
    attempts: list[AnsweredRequest] = field(default_factory=list)
    repeats: dict[str, int] = field(default_factory=dict)
    follow_ups: list[FollowUp] = field(default_factory=list)
    turned: bool = False

    @property
    def followed(self) -> bool:
        """Whether the user did anything after an answer."""
        return bool(self.repeats or self.follow_ups)


@dataclass(frozen=True, slots=True)
class Tracking:
    """What is tracked: repeated questions, next messages, up to `within` after a request."""

    within: timedelta
    repeated: bool = True
    next_messages: bool = True


class Tracker:
    """Follows the conversations of one user."""

    def __init__(self, tenant: str, tracking: Tracking) -> None:
        self.unmatched = 0
        self._tenant = tenant
        self._tracking = tracking
        self._open: OrderedDict[str, TrackedConversation] = OrderedDict()
        self._places: Counter[tuple[int, int]] = Counter()

    def add(
        self, asked: AnsweredRequest, request: Mapping[str, Any] | None
    ) -> list[TrackedConversation]:
        """Take the next request; return the conversations that nothing can follow any more.

        `request` is its content, which is needed unless it is the user's first in a long time.
        """
        closed = self._expire(asked.received_at)
        if request is not None and asked.conversation not in self._open:
            self._follow(asked, request)
        self._attempt(asked, request)
        if len(self._open) > OPEN_MAX:
            closed.append(self._open.popitem(last=False)[1])
        return [one for one in closed if one.followed]

    def close(self) -> list[TrackedConversation]:
        """Return the conversations that are still open."""
        still, self._open = self._open, OrderedDict()
        return [one for one in still.values() if one.followed]

    def _expire(self, now: datetime) -> list[TrackedConversation]:
        closed = []
        while self._open and now - next(iter(self._open.values())).last > self._tracking.within:
            closed.append(self._open.popitem(last=False)[1])
        return closed

    def _follow(self, asked: AnsweredRequest, request: Mapping[str, Any]) -> None:
        """Note the request as the follow-up of an answer, if it is one."""
        message = next_message(self._tenant, request)
        if message is None:
            return
        followed = self._open.get(message.conversation)
        if followed is None:
            self.unmatched += 1
        elif len(followed.follow_ups) < EACH_MAX:
            place = self._place(asked) if self._tracking.next_messages else 0
            followed.follow_ups.append(FollowUp(asked.id, asked.received_at, message, place))

    def _attempt(self, asked: AnsweredRequest, request: Mapping[str, Any] | None) -> None:
        """Note the request as one for its own conversation."""
        new = TrackedConversation(asked.conversation, asked.received_at)
        own = self._open.setdefault(asked.conversation, new)
        own.last = asked.received_at
        self._open.move_to_end(asked.conversation)
        if own.attempts and len(own.attempts) < EACH_MAX and self._tracking.repeated:
            own.turned = request is not None and has_answer(request)
            own.repeats[asked.id] = self._place(asked)
        own.attempts.append(asked)
        del own.attempts[EACH_MAX:]

    def _place(self, asked: AnsweredRequest) -> int:
        year, week, _ = asked.received_at.astimezone(UTC).isocalendar()
        self._places[year, week] += 1
        return self._places[year, week]
