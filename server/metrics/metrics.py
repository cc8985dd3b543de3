"""All of Pawl's metrics, exported together with vLLM's. No label holds a user's id or text."""

from collections.abc import Iterable

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    generate_latest,
)

from server.metrics.cluster import ClusterMetrics
from server.metrics.connections import ConnectionMetrics
from server.metrics.process import ProcessMetrics
from server.metrics.recorder import RecorderMetrics
from server.metrics.registry import RegistryMetrics
from server.metrics.retention import RetentionMetrics
from server.metrics.runs import RunMetrics
from server.metrics.serving import ServingMetrics, ShadowMetrics
from server.metrics.spool import SpoolMetrics


class Metrics:
    """All metrics, on a registry per app, so that two apps in one process do not collide."""

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
        self.connections = ConnectionMetrics(self._registry)
        self.process = ProcessMetrics(self._registry)

    def expect(self, channels: Iterable[str]) -> None:
        """Export zeros for these channels from the start: a rate needs two samples."""
        self.recorder.expect()
        self.retention.expect()
        for channel in channels:
            self.serving.expect(channel)
            self.shadow.expect(channel)
            self.adapters.expect(channel)
            self.runs.expect(channel)

    def exposition(self) -> bytes:
        """Return Pawl's metrics and the default registry's (vLLM, process) as Prometheus text."""
        return generate_latest(self._registry) + generate_latest(REGISTRY)
