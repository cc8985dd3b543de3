"""Metrics of answered requests and of shadow answers."""

from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
)

from adapters.names import BASE
from feedback.records import InteractionRecord
from feedback.visibility import visibility
from server.metrics.buckets import BY_VERSION, DURATION_BUCKETS, FIRST_TOKEN_BUCKETS


class ServingMetrics:
    """Requests, tokens and latencies, by version."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "pawl_requests",
            "Answered requests",
            [*BY_VERSION, "role", "mode", "endpoint", "status"],
            registry=registry,
        )
        self.tokens = Counter(
            "pawl_tokens",
            "Prompt and completion tokens",
            [*BY_VERSION, "direction"],
            registry=registry,
        )
        self.first_token = Histogram(
            "pawl_time_to_first_token_seconds",
            "Seconds from arrival to the first sampled token",
            BY_VERSION,
            buckets=FIRST_TOKEN_BUCKETS,
            registry=registry,
        )
        self.duration = Histogram(
            "pawl_request_duration_seconds",
            "Seconds from arrival to the last sampled token",
            BY_VERSION,
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.late_commits = Counter(
            "pawl_late_commits",
            "Answers that were sent before their interaction was durable",
            registry=registry,
        )

    def expect(self, channel: str) -> None:
        """Export zeros from the start: a rate needs two samples."""
        for status in ("complete", "aborted", "failed"):
            self.requests.labels(channel, BASE, "live", "live", "chat", status)
        for direction in ("prompt", "completion"):
            self.tokens.labels(channel, BASE, direction)
        self.first_token.labels(channel, BASE)
        self.duration.labels(channel, BASE)

    def answered(self, record: InteractionRecord) -> None:
        """Count one request; observe its latencies only if a user waited for it.

        The sides of a comparison are counted without their versions, because the token counts would
        reveal which answer is whose.
        """
        version = visibility(record.comparison).version(record.version) or ""
        labels = (record.channel, version)
        self.requests.labels(
            *labels, record.role, record.mode, record.endpoint, record.status
        ).inc()
        self.tokens.labels(*labels, "prompt").inc(record.counted_prompt_tokens)
        sampled = record.completion_tokens
        self.tokens.labels(*labels, "completion").inc(sampled)
        if record.mode != "live":
            return
        if record.first_token_seconds is not None:
            self.first_token.labels(*labels).observe(record.first_token_seconds)
        if record.status == "complete" and record.duration_seconds is not None:
            self.duration.labels(*labels).observe(record.duration_seconds)

    def commit_was_late(self) -> None:
        """Count an answer that was sent before its commit."""
        self.late_commits.inc()


ShadowOutcome = Literal[
    "answered", "failed", "full", "expired", "gone", "refused", "overdue", "shutdown"
]
"""The outcome of a request that was sampled for a shadow answer."""


class ShadowMetrics:
    """Sampled requests, by outcome of their shadow answers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.outcomes = Counter(
            "pawl_shadow",
            "Live requests sampled for the shadow, by outcome",
            ["channel", "outcome"],
            registry=registry,
        )

    def expect(self, channel: str) -> None:
        """Export zeros from the start."""
        for outcome in get_args(ShadowOutcome):
            self.outcomes.labels(channel, outcome)

    def ended(self, channel: str, outcome: ShadowOutcome) -> None:
        """Count an outcome."""
        self.outcomes.labels(channel, outcome).inc()
