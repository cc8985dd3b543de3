"""Metrics of the server process: restarts, and stalls of its engine."""

from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge


class Stalling(Protocol):
    """Watches the engine for stalls."""

    @property
    def stalled_seconds(self) -> float:
        """Seconds for which the engine has had work and has made no step."""
        ...


class ProcessMetrics:
    """Restarts and stalls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.restarts = Counter(
            "pawl_server_restarts",
            "Restarts of the server by its supervisor",
            registry=registry,
        )
        self.stalled = Gauge(
            "pawl_engine_stalled_seconds",
            "Seconds for which the engine has had work and has made no step",
            registry=registry,
        )

    def restarted(self, times: int) -> None:
        """Add the restarts before this process."""
        self.restarts.inc(times)

    def watched(self, watch: Stalling) -> None:
        """Read the stall time from `watch` at each scrape."""
        self.stalled.set_function(lambda: watch.stalled_seconds)
