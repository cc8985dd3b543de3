"""Metrics of the spool and of the database that it buffers for."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from feedback.errors import ConflictError, InvalidInputError, RowRejectedError
from feedback.ports import SpoolObserver


class SpoolMetrics(SpoolObserver):
    """Size of the spool, rows moved through it, and whether the database is up."""

    def __init__(
        self, registry: CollectorRegistry, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        self._answered_at = monotonic()
        self._reads = self._writes = True
        self.rows = Gauge(
            "pawl_spool_rows", "Rows in the spool that wait for the database", registry=registry
        )
        self.bytes = Gauge("pawl_spool_bytes", "Size of the spool in bytes", registry=registry)
        self.spooled_rows = Counter(
            "pawl_spooled_rows", "Rows made durable in the spool", registry=registry
        )
        self.forwarded_rows = Counter(
            "pawl_spool_drained_rows",
            "Rows that were moved from the spool into the database",
            registry=registry,
        )
        self.refused_rows = Counter(
            "pawl_spool_refused_rows",
            "Rows of the spool that the database refused permanently; kept aside",
            ["reason"],
            registry=registry,
        )
        self.up = Gauge(
            "pawl_database_up",
            "1 while the database answers reads and writes",
            registry=registry,
        )
        self.silence = Gauge(
            "pawl_database_silence_seconds",
            "Seconds since the database last answered",
            registry=registry,
        )
        self.silence.set_function(lambda: self._monotonic() - self._answered_at)
        for reason in (ConflictError, InvalidInputError, RowRejectedError):
            self.refused_rows.labels(reason.__name__)

    def spool_size(self, rows: int, size_bytes: int) -> None:
        """Set the number of rows in the spool and its size in bytes."""
        self.rows.set(rows)
        self.bytes.set(size_bytes)

    def spooled(self, rows: int) -> None:
        """Count rows stored in the spool."""
        self.spooled_rows.inc(rows)

    def forwarded(self, rows: int) -> None:
        """Count rows moved from the spool into the database."""
        self.forwarded_rows.inc(rows)

    def refused(self, reason: str) -> None:
        """Count a row that the database refused permanently."""
        self.refused_rows.labels(reason).inc()

    def database_answered(self) -> None:
        """Record a successful write."""
        self._writes = True
        self._update()

    def database_failed(self) -> None:
        """Record a write that failed or timed out."""
        self._writes = False
        self._update()

    def probed(self, *, answers: bool) -> None:
        """Record whether the database answered a probe."""
        self._reads = answers
        self._update()

    def _update(self) -> None:
        up = self._reads and self._writes
        self.up.set(up)
        if up:
            self._answered_at = self._monotonic()
