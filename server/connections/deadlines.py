"""Decides when a peer is too slow. Pure: times are seconds of one monotonic clock."""

from dataclasses import dataclass, field
from enum import Enum

from server.config import HttpConfig
from server.connections.request_meter import ReadPhase

LINGER_SECONDS = 3.0
"""Seconds that a refused peer gets to read its error, while its further input is discarded. Closing
at once would make its kernel drop the error (RFC 9112, 9.6)."""


class Overdue(Enum):
    """The timeout that a peer has exceeded."""

    IDLE = "idle"
    HEAD = "head_too_slow"
    BODY = "body_too_slow"
    ANSWER = "answer_unread"
    LINGER = "linger"


@dataclass(slots=True)
class ReadDeadline:
    """The deadline for the arrival of the current request."""

    config: HttpConfig
    since: float
    """When the current phase began, or the last answer ended."""
    answered: bool = False
    """Whether the connection has had an answer; it may then be idle for `keep_alive_seconds`."""

    def overdue(self, phase: ReadPhase, now: float) -> Overdue | None:
        """Return the timeout that was exceeded in this phase, if any."""
        waited = now - self.since
        if phase is ReadPhase.BODY:
            return Overdue.BODY if waited > self.config.body_seconds else None
        if phase is ReadPhase.HEAD:
            return Overdue.HEAD if waited > self.config.head_seconds else None
        patience = self.config.keep_alive_seconds if self.answered else self.config.head_seconds
        return Overdue.IDLE if waited > patience else None


@dataclass(slots=True)
class WriteProgress:
    """Measures whether a peer reads its answer fast enough.

    A peer is stalled if within `write_seconds` it read neither all of the buffered bytes nor
    `write_bytes_per_second` of them. While nothing is buffered a peer is never stalled: an answer
    may take minutes to be generated.
    """

    config: HttpConfig
    since: float
    _waiting: int = field(default=0)
    """Bytes that were buffered at `since`."""

    def restart(self, now: float, waiting: int) -> None:
        """Start a new measurement: the peer has made progress, or more was written."""
        self.since, self._waiting = now, waiting

    def stalled(self, now: float, waiting: int, *, growing: bool) -> bool:
        """Return whether the peer is stalled.

        Args:
            now: Monotonic seconds.
            waiting: Bytes in the write buffer.
            growing: Whether more may be written at any time.

        """
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
