"""What `/metrics` shows of the connections: how many are open, and which were closed by us."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from server.connections.admission import MADE_ROOM, ConnectionObserver
from server.connections.deadlines import Overdue
from server.connections.request_meter import REFUSALS

REASONS = frozenset(
    {MADE_ROOM, *(refusal.reason for refusal in REFUSALS), *(overdue.value for overdue in Overdue)}
)


class ConnectionMetrics(ConnectionObserver):
    """Open connections, and refused or closed ones by reason."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open = Gauge(
            "pawl_http_connections", "Connections that clients have open", registry=registry
        )
        self._closed = Counter(
            "pawl_http_connections_closed",
            "Connections that the server refused or closed for what their peers did, or did not",
            ["reason"],
            registry=registry,
        )
        for reason in REASONS:
            self._closed.labels(reason)

    def closed(self, reason: str) -> None:
        """A connection was refused or closed."""
        self._closed.labels(reason).inc()

    def count_with(self, count: Callable[[], int]) -> None:
        """Show what `count` says."""
        self._open.set_function(count)
