"""Whether something that should move hangs: a decision from what a watcher has seen of it."""

from dataclasses import dataclass
from enum import Enum


class Liveness(Enum):
    """What a look at it says: leave it alone, give it something to do, or give it up."""

    FINE = "fine"
    PROBE = "probe"
    HUNG = "hung"


@dataclass(slots=True)
class Watchdog:
    """Finds a hang from looks at a counter that rises whenever something was done.

    It hangs when there has been work for `hang_seconds` and the counter stood still; or, after
    `canary_seconds` without any work, when the work that the verdict `PROBE` asks for does not move
    it. Only time between looks that follow each other within `gap_seconds` counts: a watcher that
    was stopped itself (SIGSTOP, a machine that swaps) knows nothing of the time it missed, and the
    counter may not have been read meanwhile.
    """

    hang_seconds: float
    canary_seconds: float
    gap_seconds: float
    stalled_seconds: float = 0.0
    """For how long there has been work and no progress."""
    _idle_seconds: float = 0.0
    _seen_at: float | None = None
    _progress: int | None = None
    _had_work: bool = False
    _asked: bool = False

    def look(self, now: float, *, progress: int, busy: bool) -> Liveness:
        """One look; to be taken about every second.

        Args:
            now: Seconds on a clock that only goes forward.
            progress: The counter.
            busy: Whether there is work to do (beside what `PROBE` asked for).

        """
        passed = 0.0 if self._seen_at is None else min(now - self._seen_at, self.gap_seconds)
        self._seen_at = now
        if progress != self._progress:
            self._progress = progress
            self._rest()
        elif self._had_work:
            self.stalled_seconds += passed
        else:
            self._idle_seconds += passed
        verdict = self._verdict(busy=busy)
        self._had_work = busy or self._asked
        return verdict

    def answered(self) -> None:
        """What `PROBE` asked for was done, or refused: it moves."""
        self._rest()

    def _rest(self) -> None:
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
