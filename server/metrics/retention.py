"""Metrics of retention: removed texts, and the age of the oldest."""

from collections.abc import Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

KINDS = ("interactions", "feedback", "runs")


class RetentionMetrics:
    """Rows and runs whose texts were removed, and when the oldest text was received."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.removed = Counter(
            "pawl_texts_removed",
            "Rows and run folders whose texts were removed for their age",
            ["of"],
            registry=registry,
        )
        self.oldest = Gauge(
            "pawl_oldest_text_timestamp_seconds",
            "When the oldest row that still has its texts was received; 0 without one",
            registry=registry,
        )
        self.failures = Counter(
            "pawl_retention_failures", "Removals of texts that failed", registry=registry
        )

    def expect(self) -> None:
        """Export zeros from the start."""
        for kind in KINDS:
            self.removed.labels(kind)

    def done(self, removed: Mapping[str, int]) -> None:
        """Count rows and runs whose texts were removed, by kind."""
        for kind, count in removed.items():
            self.removed.labels(kind).inc(count)

    def failed(self) -> None:
        """Count a failed removal."""
        self.failures.inc()

    def show_oldest(self, moment: datetime | None) -> None:
        """Set when the oldest text was received; None if there is none."""
        self.oldest.set(0 if moment is None else moment.timestamp())
