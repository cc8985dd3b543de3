"""What `/metrics` shows of servers that share a database."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from adapters.ports import ClusterObserver

STATES = ("ready", "starting", "draining")


class ClusterMetrics(ClusterObserver):
    """How this server keeps up with the others."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.servers = Gauge(
            "pawl_servers",
            "Live servers on this database, as this one sees them",
            ["state"],
            registry=registry,
        )
        self.age = Gauge(
            "pawl_route_age_seconds",
            "Since the routes were last confirmed against the database",
            registry=registry,
        )
        self.failures = Counter(
            "pawl_route_refresh_failures",
            "Looks for changed routes that the database did not answer",
            registry=registry,
        )
        self.waiting = Gauge(
            "pawl_route_changes_waiting",
            "Changes of a route that wait until every server has loaded a version",
            registry=registry,
        )
        for state in STATES:
            self.servers.labels(state)

    def age_from(self, age_seconds: Callable[[], float]) -> None:
        """Ask this for the age at each scrape."""
        self.age.set_function(age_seconds)

    def route_looked_up(self, *, found: bool) -> None:
        """The database was asked for the routes."""
        if not found:
            self.failures.inc()

    def servers_seen(self, ready: int, starting: int, draining: int) -> None:
        """The live servers, this one included."""
        for state, count in zip(STATES, (ready, starting, draining), strict=True):
            self.servers.labels(state).set(count)

    def change_waits(self, change: int) -> None:
        """So many more changes wait."""
        self.waiting.inc(change)
