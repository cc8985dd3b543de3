"""When the owner of a run counts as dead.

A lease ends at a time of its owner's clock, and clocks differ from server to server, lag, and are
set. So the time alone is never believed. What counts is whether the lease changes: an owner that
lives renews it `BEATS` times in its length, and who sees it unchanged for its whole length, by a
clock of its own that nobody sets, may take it. Where the time says besides that it is over, as it
does when a server starts long after another's death, `LOOK` of its length is enough.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from retrain.models import Run

BEATS = 6
"""A server that is so busy that it misses all but one of them keeps its runs."""
LOOK = 1 / 3

Monotonic = Callable[[], float]
Sign = tuple[int, datetime | None]
"""What an owner changes when it renews: the fence and the end of the lease."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A lease as it was first seen, and when, by the observer's own clock."""

    sign: Sign
    since: float


def is_over(lease_until: datetime, now: datetime, unchanged: float, seconds: float) -> bool:
    """Whether a lease of `seconds`, seen `unchanged` for so many, may be taken."""
    return unchanged >= (seconds * LOOK if lease_until <= now else seconds)


class Watch:
    """What one process has seen of the leases of others."""

    def __init__(self, monotonic: Monotonic, seconds: float) -> None:
        self._monotonic = monotonic
        self._seconds = seconds
        self._seen: Mapping[str, Sighting] = {}

    def left(self, runs: Sequence[Run], now: datetime) -> list[Run]:
        """Those of all runs under way that nobody holds any more."""
        moment = self._monotonic()
        seen = {run.id: self._sighting(run, moment) for run in runs}
        self._seen = seen
        return [run for run in runs if self._is_left(run, now, moment - seen[run.id].since)]

    def _sighting(self, run: Run, moment: float) -> Sighting:
        before, sign = self._seen.get(run.id), (run.fence, run.lease_until)
        return before if before is not None and before.sign == sign else Sighting(sign, moment)

    def _is_left(self, run: Run, now: datetime, unchanged: float) -> bool:
        if run.owner is None or run.lease_until is None:
            return True  # its owner let go of it
        return is_over(run.lease_until, now, unchanged, self._seconds)
