"""What `/metrics` shows of texts that are removed for their age."""

from collections.abc import Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

KINDS = ("interactions", "feedback", "runs")


class RetentionMetrics:
    """Rows and runs whose texts were removed, and how old the oldest text is."""

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
            "pawl_retention_failures", "Removals of texts that did not end", registry=registry
        )

    def expect(self) -> None:
        """Show zeros."""
        for kind in KINDS:
            self.removed.labels(kind)

    def done(self, removed: Mapping[str, int]) -> None:
        """So many lost their texts just now."""
        for kind, count in removed.items():
            self.removed.labels(kind).inc(count)

    def failed(self) -> None:
        """The database or the disk did not let us."""
        self.failures.inc()

    def show_oldest(self, moment: datetime | None) -> None:
        """What is the oldest now."""
        self.oldest.set(0 if moment is None else moment.timestamp())
