"""Metrics of the log's writer."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
)

from adapters.names import BASE
from feedback.config import BUILT_IN_METRICS
from feedback.errors import RecorderClosedError, RecorderFullError, RowRejectedError
from feedback.ports import RecorderObserver
from server.metrics.buckets import COMMIT_BUCKETS


class RecorderMetrics(RecorderObserver):
    """What happens to the log."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queue = Gauge(
            "pawl_recorder_queue_rows", "Rows that wait for their commit", registry=registry
        )
        self.commits = Histogram(
            "pawl_recorder_commit_seconds",
            "One group's transaction, its sync included",
            buckets=COMMIT_BUCKETS,
            registry=registry,
        )
        self.rows = Counter("pawl_recorder_rows", "Rows made durable", registry=registry)
        self.retries = Counter(
            "pawl_recorder_retried_rows", "Rows whose group the database failed", registry=registry
        )
        self.failures = Counter(
            "pawl_recorder_failed_rows", "Rows that were not stored", ["reason"], registry=registry
        )
        self.feedback = Counter(
            "pawl_feedback",
            "Judgements stored; no version where the interaction is not known yet",
            ["metric", "version"],
            registry=registry,
        )
        self.retracted = Counter(
            "pawl_feedback_retracted",
            "Times that feedback was taken back",
            ["metric"],
            registry=registry,
        )

    def expect(self) -> None:
        """Show zeros."""
        for reason in (RecorderFullError, RecorderClosedError, RowRejectedError):
            self.failures.labels(reason.__name__)
        for metric in BUILT_IN_METRICS:
            self.feedback.labels(metric, BASE)

    def queue_depth(self, rows: int) -> None:
        """Rows that wait or are being written now."""
        self.queue.set(rows)

    def committed(self, rows: int, seconds: float) -> None:
        """One group is durable."""
        self.rows.inc(rows)
        self.commits.observe(seconds)

    def retried(self, rows: int) -> None:
        """The database failed a group."""
        self.retries.inc(rows)

    def failed(self, rows: int, reason: str) -> None:
        """Rows that will not be stored."""
        self.failures.labels(reason).inc(rows)

    def feedback_stored(self, metric_name: str, version: str | None) -> None:
        """New feedback is durable."""
        self.feedback.labels(metric_name, version or "").inc()

    def feedback_retracted(self, metric_name: str) -> None:
        """Feedback was taken back."""
        self.retracted.labels(metric_name).inc()
