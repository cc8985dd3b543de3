"""Metrics of client connections: how many are open, and how many the server closed and why."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from server.connections.admission import MADE_ROOM, ConnectionObserver
from server.connections.deadlines import Overdue
from server.connections.request_meter import REFUSALS

REASONS = frozenset(
    {MADE_ROOM, *(refusal.reason for refusal in REFUSALS), *(overdue.value for overdue in Overdue)}
)


class ConnectionMetrics(ConnectionObserver):
    """Open connections, and those that the server refused or closed, by reason."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open = Gauge("pawl_http_connections", "Open client connections", registry=registry)
        self._closed = Counter(
            "pawl_http_connections_closed",
            "Connections that the server refused or closed, by reason",
            ["reason"],
            registry=registry,
        )
        for reason in REASONS:
            self._closed.labels(reason)

    def closed(self, reason: str) -> None:
        """Count a refused or closed connection."""
        self._closed.labels(reason).inc()

    def count_with(self, count: Callable[[], int]) -> None:
        """Read the number of open connections from `count` at each scrape."""
        self._open.set_function(count)
