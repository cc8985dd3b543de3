"""When a peer has been too slow. Pure: times are seconds of one monotonic clock."""

from dataclasses import dataclass, field
from enum import Enum

from server.config import HttpConfig
from server.connections.request_meter import ReadPhase

LINGER_SECONDS = 3.0
"""A refused peer may read its answer for so long, while what it still sends is thrown away: closing
at once would make its kernel drop the answer (RFC 9112, 9.6)."""


class Overdue(Enum):
    """What a peer has let pass."""

    IDLE = "idle"
    HEAD = "head_too_slow"
    BODY = "body_too_slow"
    ANSWER = "answer_unread"
    LINGER = "linger"


@dataclass(slots=True)
class ReadDeadline:
    """How long the current request may still take to arrive."""

    config: HttpConfig
    since: float
    """When the phase began, or the last answer ended."""
    answered: bool = False
    """Whether the connection has had an answer: then it may be idle for longer."""

    def overdue(self, phase: ReadPhase, now: float) -> Overdue | None:
        """What is overdue in this phase; None while there is time."""
        waited = now - self.since
        if phase is ReadPhase.BODY:
            return Overdue.BODY if waited > self.config.body_seconds else None
        if phase is ReadPhase.HEAD:
            return Overdue.HEAD if waited > self.config.head_seconds else None
        patience = self.config.keep_alive_seconds if self.answered else self.config.head_seconds
        return Overdue.IDLE if waited > patience else None


@dataclass(slots=True)
class WriteProgress:
    """Whether a peer takes its answer.

    A peer counts as stalled if in `write_seconds` it took neither all that waited for it nor
    `write_bytes_per_second` of it. An answer of which nothing waits is never late: a chat may take
    minutes to be generated.
    """

    config: HttpConfig
    since: float
    _waiting: int = field(default=0)
    """Bytes that waited at `since`."""

    def restart(self, now: float, waiting: int) -> None:
        """Begin a new stretch of time: the peer has got on, or more was written."""
        self.since, self._waiting = now, waiting

    def stalled(self, now: float, waiting: int, *, growing: bool) -> bool:
        """Whether the peer is too slow; `growing` while more may be written at any time."""
        if waiting == 0 or (growing and waiting > self._waiting):
            self.restart(now, waiting)
            return False
        if now - self.since <= self.config.write_seconds:
            return False
        wanted = self.config.write_bytes_per_second * self.config.write_seconds
        if self._waiting - waiting >= min(self._waiting, wanted):
            self.restart(now, waiting)
            return False
        return True
