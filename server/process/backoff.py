"""Exponential backoff between restarts of a process that died."""

from dataclasses import dataclass

LONGEST_SECONDS = 30.0
_LEAST_DOUBLED = 0.5
_DOUBLINGS_MAX = 16


@dataclass(frozen=True, slots=True)
class Backoff:
    """A pause that doubles with each death, up to `LONGEST_SECONDS`.

    After `proven_seconds` of serving it starts from `first_seconds` again. If `first_seconds` is 0,
    only the first restart is immediate, so a process that dies at once does not cause a busy loop.
    """

    first_seconds: float
    proven_seconds: float

    def deaths(self, before: int, served_seconds: float) -> int:
        """Return the number of deaths in a row, this one included.

        Args:
            before: Deaths in a row before this one.
            served_seconds: How long the process served, not counting its startup.

        """
        return 1 if served_seconds >= self.proven_seconds else before + 1

    def pause(self, deaths: int) -> float:
        """Return the seconds to wait after `deaths` deaths in a row (1 or more)."""
        if deaths == 1:
            return self.first_seconds
        doubled = max(self.first_seconds, _LEAST_DOUBLED) * 2.0 ** min(deaths - 1, _DOUBLINGS_MAX)
        return min(doubled, max(LONGEST_SECONDS, self.first_seconds))
