"""Clocks. Everything that asks for the time is given one of these."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Gives the time now, aware, in UTC."""

Monotonic = Callable[[], float]
"""Seconds that only grow, from wherever."""


def system_clock() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)


class AdjustableClock:
    """A clock that can be moved forward, so that weeks pass in minutes. For demonstrations."""

    def __init__(self) -> None:
        self._offset = timedelta()

    def __call__(self) -> datetime:
        """The time now, aware, in UTC, with all that was added."""
        return system_clock() + self._offset

    def advance(self, by: timedelta) -> datetime:
        """Move forward by a positive amount; returns the new time.

        Raises ValueError for a step back: slots and leases count on time that does not turn.
        """
        if by < timedelta():
            raise ValueError("the clock moves forward only")
        self._offset += by
        return self()
