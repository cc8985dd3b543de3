"""What `/metrics` shows of the server as a process: how often it was started, how its engine is."""

from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge


class Stalling(Protocol):
    """What watches the engine."""

    @property
    def stalled_seconds(self) -> float:
        """For how long there has been work for the engine, and no step."""
        ...


class ProcessMetrics:
    """Restarts and stalls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.restarts = Counter(
            "pawl_server_restarts",
            "Times that the supervising parent has started the server again",
            registry=registry,
        )
        self.stalled = Gauge(
            "pawl_engine_stalled_seconds",
            "For how long there has been work for the engine, and no step",
            registry=registry,
        )

    def restarted(self, times: int) -> None:
        """The server is the one after so many others."""
        self.restarts.inc(times)

    def watched(self, watch: Stalling) -> None:
        """Show what `watch` sees from now on."""
        self.stalled.set_function(lambda: watch.stalled_seconds)
