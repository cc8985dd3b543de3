"""Metrics of weekly runs and rollouts."""

from collections.abc import Mapping
from datetime import datetime

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
)

from retrain.ports import RunObserver
from retrain.rollout.decisions import Phase


class RunMetrics(RunObserver):
    """What weekly runs do."""

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
