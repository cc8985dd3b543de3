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
    """Steps and results of weekly runs, gate decisions, and rollouts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.running = Gauge(
            "pawl_run_step",
            "1 for the current step of a run; absent while nothing runs",
            ["channel", "step"],
            registry=registry,
        )
        self.runs = Counter("pawl_runs", "Runs that ended", ["channel", "state"], registry=registry)
        self.pairs = Gauge(
            "pawl_run_pairs", "Pairs of the last snapshot", ["channel", "signal"], registry=registry
        )
        self.labels = Gauge(
            "pawl_run_labels",
            "Answers judged by themselves in the last snapshot, by verdict (up, down)",
            ["channel", "verdict"],
            registry=registry,
        )
        self.left_out = Gauge(
            "pawl_run_left_out",
            "Judgements that the last snapshot left out, by filter",
            ["channel", "filter"],
            registry=registry,
        )
        self.counterparts = Gauge(
            "pawl_run_counterparts",
            "Questions that the last run asked the live version again, by the origin of the pair "
            "and by outcome: a pair, or why there is none",
            ["channel", "origin", "outcome"],
            registry=registry,
        )
        self.decisions = Counter(
            "pawl_gate_decisions",
            "Decisions of the gate",
            ["channel", "outcome"],
            registry=registry,
        )
        self.success = Gauge(
            "pawl_run_last_success_timestamp_seconds",
            "When a run last succeeded",
            ["channel"],
            registry=registry,
        )
        self.rollouts = Counter(
            "pawl_rollouts",
            "Phases that rollouts have entered",
            ["channel", "phase"],
            registry=registry,
        )
        self.evidence = Gauge(
            "pawl_rollout_evidence",
            "E-values of the canary or watch in progress; `pawl rollouts show` has the thresholds",
            ["channel", "claim"],
            registry=registry,
        )

        self.wallets = Gauge(
            "pawl_promotion_alpha_left",
            "Alpha left in the yearly budget of false promotions; absent where it does not apply",
            ["channel"],
            registry=registry,
        )

    def expect(self, channel: str) -> None:
        """Export zeros from the start."""
        for state in ("promoted", "rolling_out", "rejected", "skipped", "failed", "cancelled"):
            self.runs.labels(channel, state)
        for outcome in ("promote", "canary", "reject"):
            self.decisions.labels(channel, outcome)
        for phase in Phase:
            self.rollouts.labels(channel, phase.value)

    def run_state(self, channel: str, state: str, step: str | None) -> None:
        """Set a run's step, or count its end."""
        running = state == "running"
        _replace(self.running, channel, {step or "": 1} if running else {})
        if not running:
            self.runs.labels(channel, state).inc()

    def run_pairs(
        self, channel: str, by_signal: Mapping[str, int], left_out: Mapping[str, int]
    ) -> None:
        """Set the figures of a new snapshot."""
        _replace(self.pairs, channel, by_signal)
        _replace(self.left_out, channel, left_out)

    def run_labels(self, channel: str, up: int, down: int) -> None:
        """Set the number of labels of a new snapshot."""
        _replace(self.labels, channel, {"up": up, "down": down})

    def run_counterparts(self, channel: str, by_origin: Mapping[str, Mapping[str, int]]) -> None:
        """Set the figures of a search for counterparts."""
        self.counterparts.remove_by_labels({"channel": channel})
        for origin, outcomes in by_origin.items():
            for outcome, questions in outcomes.items():
                self.counterparts.labels(channel, origin, outcome).set(questions)

    def gate_decided(self, channel: str, outcome: str) -> None:
        """Count a decision of the gate."""
        self.decisions.labels(channel, outcome).inc()

    def run_succeeded(self, channel: str, at: datetime) -> None:
        """Set when a run last succeeded."""
        self.success.labels(channel).set(at.timestamp())

    def rollout_moved(self, channel: str, phase: str) -> None:
        """Count a phase that a rollout entered."""
        self.rollouts.labels(channel, phase).inc()

    def wallet(self, channel: str, alpha: float) -> None:
        """Set what is left of a channel's budget of false promotions."""
        self.wallets.labels(channel).set(alpha)

    def rollout_evidence(self, channel: str, evidence: Mapping[str, float]) -> None:
        """Set the e-values of the trial in progress."""
        self.evidence.remove_by_labels({"channel": channel})
        for name, value in evidence.items():
            self.evidence.labels(channel, name).set(value)


def _replace(gauge: Gauge, channel: str, values: Mapping[str, int]) -> None:
    """Replace a channel's values."""
    gauge.remove_by_labels({"channel": channel})
    for name, value in values.items():
        gauge.labels(channel, name).set(value)
