"""What `/metrics` shows of ours, beside vLLM's own. No label ever names a user or holds a text."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal, get_args

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from adapters.names import BASE
from feedback.config import BUILT_IN_METRICS
from feedback.errors import RecorderClosedError, RecorderFullError, RowRejectedError
from feedback.records import InteractionRecord
from retrain.rollout import Phase
from server.cluster_metrics import ClusterMetrics
from server.process_metrics import ProcessMetrics
from server.retention_metrics import RetentionMetrics
from server.spool_metrics import SpoolMetrics

FIRST_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
DURATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
COMMIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
BY_VERSION = ("channel", "version")


class ServingMetrics:
    """Requests, tokens and times, by version."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "pawl_requests",
            "Answered requests",
            [*BY_VERSION, "role", "mode", "endpoint", "status"],
            registry=registry,
        )
        self.tokens = Counter(
            "pawl_tokens", "Tokens read and sampled", [*BY_VERSION, "direction"], registry=registry
        )
        self.first_token = Histogram(
            "pawl_time_to_first_token_seconds",
            "From arrival to the first sampled token",
            BY_VERSION,
            buckets=FIRST_TOKEN_BUCKETS,
            registry=registry,
        )
        self.duration = Histogram(
            "pawl_request_duration_seconds",
            "From arrival to the last sampled token",
            BY_VERSION,
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.late_commits = Counter(
            "pawl_late_commits",
            "Answers that left before their interaction was durable (law 3)",
            registry=registry,
        )

    def expect(self, channel: str) -> None:
        """Show zeros for what a channel has not had yet: a rate needs two samples."""
        for status in ("complete", "aborted", "failed"):
            self.requests.labels(channel, BASE, "live", "live", "chat", status)
        for direction in ("prompt", "completion"):
            self.tokens.labels(channel, BASE, direction)
        self.first_token.labels(channel, BASE)
        self.duration.labels(channel, BASE)

    def answered(self, record: InteractionRecord) -> None:
        """Count one request; its times only where users waited for it.

        A comparison's sides are counted without their versions: their lengths would tell them.
        """
        version = "" if record.comparison else record.version or ""
        labels = (record.channel, version)
        self.requests.labels(
            *labels, record.role, record.mode, record.endpoint, record.status
        ).inc()
        self.tokens.labels(*labels, "prompt").inc(len(record.prompt_token_ids or ()))
        sampled = sum(len(choice.token_ids or ()) for choice in record.choices)
        self.tokens.labels(*labels, "completion").inc(sampled)
        if record.mode != "live":
            return
        if record.first_token_seconds is not None:
            self.first_token.labels(*labels).observe(record.first_token_seconds)
        if record.status == "complete" and record.duration_seconds is not None:
            self.duration.labels(*labels).observe(record.duration_seconds)

    def commit_was_late(self) -> None:
        """Count an answer that could not wait for its commit."""
        self.late_commits.inc()


ShadowOutcome = Literal[
    "answered", "failed", "full", "expired", "gone", "refused", "overdue", "shutdown"
]
"""What became of a request that the shadow was to answer too."""


class ShadowMetrics:
    """What became of what shadows were to answer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.outcomes = Counter(
            "pawl_shadow",
            "Live requests drawn for the shadow, by what became of them",
            ["channel", "outcome"],
            registry=registry,
        )

    def expect(self, channel: str) -> None:
        """Show zeros."""
        for outcome in get_args(ShadowOutcome):
            self.outcomes.labels(channel, outcome)

    def ended(self, channel: str, outcome: ShadowOutcome) -> None:
        """One of them is over."""
        self.outcomes.labels(channel, outcome).inc()


class RecorderMetrics:
    """What happens to the log. Satisfies `feedback.ports.RecorderObserver`."""

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


class RegistryMetrics:
    """What the registry did. Satisfies `adapters.ports.RegistryObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.epoch = Gauge(
            "pawl_route_epoch", "Changes of the route so far", ["channel"], registry=registry
        )
        self.live = Gauge(
            "pawl_live_version_info", "1 for the live version", BY_VERSION, registry=registry
        )
        self.swaps = Histogram(
            "pawl_swap_seconds",
            "From the start of a load to the active route",
            ["channel"],
            buckets=(0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120),
            registry=registry,
        )
        self.load_failures = Counter(
            "pawl_adapter_load_failures", "Adapters the engine refused", registry=registry
        )
        self.fallbacks = Counter(
            "pawl_live_fallbacks", "Times live could not serve", ["channel"], registry=registry
        )
        self.drains = Counter(
            "pawl_adapter_drains", "Versions unloaded", ["in_time"], registry=registry
        )
        self._live: dict[str, str] = {}

    def expect(self, channel: str) -> None:
        """Show zeros."""
        self.swaps.labels(channel)
        self.fallbacks.labels(channel)
        for in_time in ("true", "false"):
            self.drains.labels(in_time)

    def route_changed(self, channel: str, epoch: int, live: str) -> None:
        """The channel's route is another one now."""
        self.epoch.labels(channel).set(epoch)
        before = self._live.get(channel)
        if before not in (None, live):
            self.live.remove(channel, str(before))
        self.live.labels(channel, live).set(1)
        self._live[channel] = live

    def swapped(self, channel: str, seconds: float) -> None:
        """A version became live."""
        self.swaps.labels(channel).observe(seconds)

    def load_failed(self, version: str) -> None:
        """The engine refused a version."""
        del version
        self.load_failures.inc()

    def fell_back(self, channel: str, version: str, serving: str) -> None:
        """Live cannot serve; something else stands in."""
        del version, serving
        self.fallbacks.labels(channel).inc()

    def drained(self, version: str, *, in_time: bool) -> None:
        """A version was unloaded."""
        del version
        self.drains.labels(str(in_time).lower()).inc()


class RunMetrics:
    """What weekly runs do. Satisfies `retrain.ports.RunObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.running = Gauge(
            "pawl_run_step",
            "1 for the step that a run is at; none while nothing runs",
            ["channel", "step"],
            registry=registry,
        )
        self.runs = Counter("pawl_runs", "Runs that ended", ["channel", "state"], registry=registry)
        self.pairs = Gauge(
            "pawl_run_pairs", "Pairs of the last snapshot", ["channel", "signal"], registry=registry
        )
        self.left_out = Gauge(
            "pawl_run_left_out",
            "What the last snapshot left out",
            ["channel", "filter"],
            registry=registry,
        )
        self.decisions = Counter(
            "pawl_gate_decisions", "What the gate said", ["channel", "outcome"], registry=registry
        )
        self.success = Gauge(
            "pawl_run_last_success_timestamp_seconds",
            "When a run last ended as it should",
            ["channel"],
            registry=registry,
        )
        self.rollouts = Counter(
            "pawl_rollouts", "Phases that rollouts came to", ["channel", "phase"], registry=registry
        )
        self.evidence = Gauge(
            "pawl_rollout_evidence",
            "E values of the canary or watch under way; the gate's thresholds are settings",
            ["channel", "claim"],
            registry=registry,
        )

    def expect(self, channel: str) -> None:
        """Show zeros."""
        for state in ("promoted", "rolling_out", "rejected", "skipped", "failed", "cancelled"):
            self.runs.labels(channel, state)
        for outcome in ("promote", "reject"):
            self.decisions.labels(channel, outcome)
        for phase in Phase:
            self.rollouts.labels(channel, phase.value)

    def run_state(self, channel: str, state: str, step: str | None) -> None:
        """A run began a step or ended."""
        running = state == "running"
        _replace(self.running, channel, {step or "": 1} if running else {})
        if not running:
            self.runs.labels(channel, state).inc()

    def run_pairs(
        self, channel: str, by_signal: Mapping[str, int], left_out: Mapping[str, int]
    ) -> None:
        """A snapshot was frozen."""
        _replace(self.pairs, channel, by_signal)
        _replace(self.left_out, channel, left_out)

    def gate_decided(self, channel: str, outcome: str) -> None:
        """The gate spoke."""
        self.decisions.labels(channel, outcome).inc()

    def run_succeeded(self, channel: str, at: datetime) -> None:
        """A run ended as it should."""
        self.success.labels(channel).set(at.timestamp())

    def rollout_moved(self, channel: str, phase: str) -> None:
        """A rollout came to a phase."""
        self.rollouts.labels(channel, phase).inc()

    def rollout_evidence(self, channel: str, evidence: Mapping[str, float]) -> None:
        """What users have shown in the trial under way."""
        self.evidence.remove_by_labels({"channel": channel})
        for name, value in evidence.items():
            self.evidence.labels(channel, name).set(value)


def _replace(gauge: Gauge, channel: str, values: Mapping[str, int]) -> None:
    """Show these values of a channel and none from before."""
    gauge.remove_by_labels({"channel": channel})
    for name, value in values.items():
        gauge.labels(channel, name).set(value)


class Metrics:
    """All of ours, on a registry of their own: an app made twice in a process does not collide."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.serving = ServingMetrics(self._registry)
        self.shadow = ShadowMetrics(self._registry)
        self.recorder = RecorderMetrics(self._registry)
        self.spool = SpoolMetrics(self._registry)
        self.adapters = RegistryMetrics(self._registry)
        self.runs = RunMetrics(self._registry)
        self.cluster = ClusterMetrics(self._registry)
        self.retention = RetentionMetrics(self._registry)
        self.process = ProcessMetrics(self._registry)

    def expect(self, channels: Iterable[str]) -> None:
        """Show zeros for these channels from the start."""
        self.recorder.expect()
        self.retention.expect()
        for channel in channels:
            self.serving.expect(channel)
            self.shadow.expect(channel)
            self.adapters.expect(channel)
            self.runs.expect(channel)

    def exposition(self) -> bytes:
        """Ours, then what vLLM and the process itself put into the default registry."""
        return generate_latest(self._registry) + generate_latest(REGISTRY)
