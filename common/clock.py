"""Clocks. Code that needs the time takes one of these as an argument."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Returns the current time as an aware datetime in UTC."""

Monotonic = Callable[[], float]
"""Returns seconds on a clock that never goes back; its zero is arbitrary."""


def system_clock() -> datetime:
    """Return the current time as an aware datetime in UTC."""
    return datetime.now(UTC)


class AdjustableClock:
    """A clock that can be moved forward, so that the demo simulates weeks in minutes."""

    def __init__(self) -> None:
        self._offset = timedelta()

    def __call__(self) -> datetime:
        """Return the system time plus every advance so far, aware, in UTC."""
        return system_clock() + self._offset

    def advance(self, by: timedelta) -> datetime:
        """Move the clock forward by `by` and return the new time.

        Raises ValueError for a negative `by`: schedule slots and leases rely on time never going
        back.
        """
        if by < timedelta():
            raise ValueError("the clock moves forward only")
        self._offset += by
        return self()
