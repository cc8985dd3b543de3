"""Decides whether an engine hangs, from periodic observations. Pure: does no I/O."""

from dataclasses import dataclass
from enum import Enum


class Liveness(Enum):
    """The result of a look: all is well, send a probe, or kill the engine."""

    FINE = "fine"
    PROBE = "probe"
    HUNG = "hung"


@dataclass(slots=True)
class Watchdog:
    """Detects a hang from looks at a counter of work done.

    The engine hangs if there is work and the counter does not change for `hang_seconds`. After
    `canary_seconds` without work, the verdict `PROBE` asks the caller to send a probe, which counts
    as work. Of the time between two looks at most `gap_seconds` count, because a watcher that was
    itself stopped (SIGSTOP, swapping) did not observe the counter meanwhile.

    All durations are seconds.
    """

    hang_seconds: float
    canary_seconds: float
    gap_seconds: float
    stalled_seconds: float = 0.0
    """Seconds for which there has been work but no progress."""
    _idle_seconds: float = 0.0
    _seen_at: float | None = None
    _progress: int | None = None
    _had_work: bool = False
    _asked: bool = False

    def look(self, now: float, *, progress: int, busy: bool) -> Liveness:
        """Take one look and return the verdict. Call it about once a second.

        Args:
            now: Seconds on a monotonic clock.
            progress: The counter of work done.
            busy: Whether there is work, apart from a probe.

        """
        passed = 0.0 if self._seen_at is None else min(now - self._seen_at, self.gap_seconds)
        self._seen_at = now
        if progress != self._progress:
            self._progress = progress
            self._reset()
        elif self._had_work:
            self.stalled_seconds += passed
        else:
            self._idle_seconds += passed
        verdict = self._verdict(busy=busy)
        self._had_work = busy or self._asked
        return verdict

    def answered(self) -> None:
        """Record that the probe was done or refused: the engine does not hang."""
        self._reset()

    def _reset(self) -> None:
        self.stalled_seconds = self._idle_seconds = 0.0
        self._asked = False

    def _verdict(self, *, busy: bool) -> Liveness:
        if self.stalled_seconds >= self.hang_seconds:
            return Liveness.HUNG
        if busy or self._asked or self._idle_seconds < self.canary_seconds:
            return Liveness.FINE
        self._asked = True
        self._idle_seconds = 0.0
        return Liveness.PROBE
