"""Metrics of the recorder, which writes the log."""

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
    """Rows queued, stored, retried and failed, and feedback by metric."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queue = Gauge(
            "pawl_recorder_queue_rows", "Rows that wait for their commit", registry=registry
        )
        self.commits = Histogram(
            "pawl_recorder_commit_seconds",
            "Duration of one batch's transaction, including its sync",
            buckets=COMMIT_BUCKETS,
            registry=registry,
        )
        self.rows = Counter("pawl_recorder_rows", "Rows made durable", registry=registry)
        self.retries = Counter(
            "pawl_recorder_retried_rows", "Rows whose batch failed", registry=registry
        )
        self.failures = Counter(
            "pawl_recorder_failed_rows", "Rows that were not stored", ["reason"], registry=registry
        )
        self.feedback = Counter(
            "pawl_feedback",
            "Judgements stored; the version is empty if the interaction is not known yet",
            ["metric", "version"],
            registry=registry,
        )
        self.retracted = Counter(
            "pawl_feedback_retracted",
            "Retractions of feedback",
            ["metric"],
            registry=registry,
        )

    def expect(self) -> None:
        """Export zeros from the start."""
        for reason in (RecorderFullError, RecorderClosedError, RowRejectedError):
            self.failures.labels(reason.__name__)
        for metric in BUILT_IN_METRICS:
            self.feedback.labels(metric, BASE)

    def queue_depth(self, rows: int) -> None:
        """Set the number of rows that wait or are being written."""
        self.queue.set(rows)

    def committed(self, rows: int, seconds: float) -> None:
        """Count the rows of a committed batch and its duration."""
        self.rows.inc(rows)
        self.commits.observe(seconds)

    def retried(self, rows: int) -> None:
        """Count the rows of a batch that failed and is retried."""
        self.retries.inc(rows)

    def failed(self, rows: int, reason: str) -> None:
        """Count rows that are not stored."""
        self.failures.labels(reason).inc(rows)

    def feedback_stored(self, metric_name: str, version: str | None) -> None:
        """Count a stored judgement."""
        self.feedback.labels(metric_name, version or "").inc()

    def feedback_retracted(self, metric_name: str) -> None:
        """Count a retraction."""
        self.retracted.labels(metric_name).inc()
