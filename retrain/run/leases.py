"""Decide when the owner of a run counts as dead.

A lease's end is a time of its owner's clock, and servers' clocks differ, so it is not sufficient.
A living owner renews its lease `BEATS` times in its length. Another server may take over a lease
that it has seen unchanged for the whole length, by its own monotonic clock. If the lease's end has
passed as well, as when a server starts long after another's death, `LOOK` of its length is enough.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from retrain.models import Run

BEATS = 6
"""Renewals per length of the lease. An overloaded owner that manages one of them keeps its runs."""
LOOK = 1 / 3
"""Share of its length for which an expired lease must be seen unchanged."""

Monotonic = Callable[[], float]
Sign = tuple[int, datetime | None]
"""The fence and the end of a lease, of which a renewal changes the latter."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A lease as it was first seen, and when, by the observer's monotonic clock in seconds."""

    sign: Sign
    since: float


def is_over(lease_until: datetime, now: datetime, unchanged: float, seconds: float) -> bool:
    """Return whether a lease of `seconds`, seen unchanged for `unchanged` seconds, may be taken."""
    return unchanged >= (seconds * LOOK if lease_until <= now else seconds)


class Watch:
    """One process's observations of other processes' leases."""

    def __init__(self, monotonic: Monotonic, seconds: float) -> None:
        self._monotonic = monotonic
        self._seconds = seconds
        self._seen: Mapping[str, Sighting] = {}

    def ownerless(self, runs: Sequence[Run], now: datetime) -> list[Run]:
        """Return those of all running runs whose owner is dead or has released them."""
        moment = self._monotonic()
        seen = {run.id: self._sighting(run, moment) for run in runs}
        self._seen = seen
        return [run for run in runs if self._is_ownerless(run, now, moment - seen[run.id].since)]

    def _sighting(self, run: Run, moment: float) -> Sighting:
        before, sign = self._seen.get(run.id), (run.fence, run.lease_until)
        return before if before is not None and before.sign == sign else Sighting(sign, moment)

    def _is_ownerless(self, run: Run, now: datetime, unchanged: float) -> bool:
        if run.owner is None or run.lease_until is None:
            return True  # its owner released it
        return is_over(run.lease_until, now, unchanged, self._seconds)
