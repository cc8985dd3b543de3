"""Metrics of the servers that share a database."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from adapters.ports import ClusterObserver

STATES = ("ready", "starting", "draining")


class ClusterMetrics(ClusterObserver):
    """Live servers, the age of this server's routes, and pending route changes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.servers = Gauge(
            "pawl_servers",
            "Live servers on this database, as this one sees them",
            ["state"],
            registry=registry,
        )
        self.age = Gauge(
            "pawl_route_age_seconds",
            "Seconds since the routes were last confirmed against the database",
            registry=registry,
        )
        self.failures = Counter(
            "pawl_route_refresh_failures",
            "Reads of the routes that failed",
            registry=registry,
        )
        self.waiting = Gauge(
            "pawl_route_changes_waiting",
            "Route changes that wait until every server has loaded a version",
            registry=registry,
        )
        for state in STATES:
            self.servers.labels(state)

    def age_from(self, age_seconds: Callable[[], float]) -> None:
        """Read the age in seconds from this function at each scrape."""
        self.age.set_function(age_seconds)

    def route_looked_up(self, *, found: bool) -> None:
        """Record a read of the routes and whether it succeeded."""
        if not found:
            self.failures.inc()

    def servers_seen(self, ready: int, starting: int, draining: int) -> None:
        """Set the numbers of live servers by state, this one included."""
        for state, count in zip(STATES, (ready, starting, draining), strict=True):
            self.servers.labels(state).set(count)

    def change_waits(self, change: int) -> None:
        """Add `change` (may be negative) to the number of waiting route changes."""
        self.waiting.inc(change)
