"""What `/metrics` shows of the spool and of the database behind it."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from feedback.errors import ConflictError, InvalidInputError, RowRejectedError
from feedback.ports import SpoolObserver


class SpoolMetrics(SpoolObserver):
    """Metrics of the spool and of the database it stands in for."""

    def __init__(
        self, registry: CollectorRegistry, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        self._answered_at = monotonic()
        self._reads = self._writes = True
        self.rows = Gauge(
            "pawl_spool_rows", "Rows that wait in the spool for the database", registry=registry
        )
        self.bytes = Gauge("pawl_spool_bytes", "Bytes that the spool takes", registry=registry)
        self.spooled_rows = Counter(
            "pawl_spooled_rows", "Rows made durable in the spool", registry=registry
        )
        self.forwarded_rows = Counter(
            "pawl_spool_drained_rows",
            "Rows that came from the spool into the database",
            registry=registry,
        )
        self.refused_rows = Counter(
            "pawl_spool_refused_rows",
            "Rows of the spool that the database refused for good; kept aside",
            ["reason"],
            registry=registry,
        )
        self.up = Gauge(
            "pawl_database_up",
            "1 while the database answers and takes what it is given",
            registry=registry,
        )
        self.silence = Gauge(
            "pawl_database_silence_seconds",
            "Since the database last answered",
            registry=registry,
        )
        self.silence.set_function(lambda: self._monotonic() - self._answered_at)
        for reason in (ConflictError, InvalidInputError, RowRejectedError):
            self.refused_rows.labels(reason.__name__)

    def spool_size(self, rows: int, size_bytes: int) -> None:
        """Rows that wait in the spool now, and the bytes that they take."""
        self.rows.set(rows)
        self.bytes.set(size_bytes)

    def spooled(self, rows: int) -> None:
        """New rows are durable in the spool."""
        self.spooled_rows.inc(rows)

    def forwarded(self, rows: int) -> None:
        """Rows of the spool are durable in the database."""
        self.forwarded_rows.inc(rows)

    def refused(self, reason: str) -> None:
        """The database refused a row of the spool for good."""
        self.refused_rows.labels(reason).inc()

    def database_answered(self) -> None:
        """The database took what it was given."""
        self._writes = True
        self._tell()

    def database_failed(self) -> None:
        """The database took nothing, or not in time."""
        self._writes = False
        self._tell()

    def probed(self, *, answers: bool) -> None:
        """The database was asked whether it is there."""
        self._reads = answers
        self._tell()

    def _tell(self) -> None:
        up = self._reads and self._writes
        self.up.set(up)
        if up:
            self._answered_at = self._monotonic()
