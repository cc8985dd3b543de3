"""How long to wait before something that died is started again."""

from dataclasses import dataclass

LONGEST_SECONDS = 30.0
_LEAST_DOUBLED = 0.5
_DOUBLINGS_MAX = 16


@dataclass(frozen=True, slots=True)
class Backoff:
    """A pause that doubles from death to death, up to half a minute.

    It is small again after a life of `proven_seconds`. Where the first pause is none at all, the
    ones after it are not: what dies at once must not burn a processor.
    """

    first_seconds: float
    proven_seconds: float

    def deaths(self, before: int, served_seconds: float) -> int:
        """Deaths in a row, one more than `before`; the first again after a proven life.

        Args:
            before: Deaths in a row until this one.
            served_seconds: For how long this life served; the start does not count.

        """
        return 1 if served_seconds >= self.proven_seconds else before + 1

    def pause(self, deaths: int) -> float:
        """Seconds to wait after so many deaths in a row (1 or more)."""
        if deaths == 1:
            return self.first_seconds
        doubled = max(self.first_seconds, _LEAST_DOUBLED) * 2.0 ** min(deaths - 1, _DOUBLINGS_MAX)
        return min(doubled, max(LONGEST_SECONDS, self.first_seconds))
