"""Metrics of the adapter registry."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
)

from adapters.ports import RegistryObserver
from server.metrics.buckets import BY_VERSION


class RegistryMetrics(RegistryObserver):
    """Routes, loads, fallbacks, quarantines and unloads of adapter versions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.epoch = Gauge(
            "pawl_route_epoch", "Number of changes of the route", ["channel"], registry=registry
        )
        self.live = Gauge(
            "pawl_live_version_info", "1 for the live version", BY_VERSION, registry=registry
        )
        self.swaps = Histogram(
            "pawl_swap_seconds",
            "Seconds from the start of a load to the active route",
            ["channel"],
            buckets=(0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120),
            registry=registry,
        )
        self.load_failures = Counter(
            "pawl_adapter_load_failures", "Adapters the engine refused", registry=registry
        )
        self.fallbacks = Counter(
            "pawl_live_fallbacks",
            "Times that the live version could not serve",
            ["channel"],
            registry=registry,
        )
        self.quarantines = Counter(
            "pawl_adapter_quarantines",
            "Versions taken out of service because their answers had no finite logits",
            registry=registry,
        )
        self.drains = Counter(
            "pawl_adapter_drains", "Versions unloaded", ["in_time"], registry=registry
        )
        self._live: dict[str, str] = {}

    def expect(self, channel: str) -> None:
        """Export zeros from the start."""
        self.swaps.labels(channel)
        self.fallbacks.labels(channel)
        for in_time in ("true", "false"):
            self.drains.labels(in_time)

    def route_changed(self, channel: str, epoch: int, live: str) -> None:
        """Set the channel's epoch and live version."""
        self.epoch.labels(channel).set(epoch)
        before = self._live.get(channel)
        if before not in (None, live):
            self.live.remove(channel, str(before))
        self.live.labels(channel, live).set(1)
        self._live[channel] = live

    def swapped(self, channel: str, seconds: float) -> None:
        """Observe the duration of a swap."""
        self.swaps.labels(channel).observe(seconds)

    def load_failed(self, version: str) -> None:
        """Count a version that the engine could not load."""
        del version
        self.load_failures.inc()

    def fell_back(self, channel: str, version: str, serving: str) -> None:
        """Count a fallback: the live version cannot serve, another one does."""
        del version, serving
        self.fallbacks.labels(channel).inc()

    def quarantined(self, times: int = 1) -> None:
        """Count quarantined versions."""
        self.quarantines.inc(times)

    def drained(self, version: str, *, in_time: bool) -> None:
        """Count an unloaded version."""
        del version
        self.drains.labels(str(in_time).lower()).inc()
