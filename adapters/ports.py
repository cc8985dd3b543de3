"""What the registry asks of its surroundings. `server` provides both."""

from pathlib import Path
from typing import Protocol


class AdapterHost(Protocol):
    """An engine, as far as adapters are concerned."""

    @property
    def slots(self) -> int:
        """How many adapters can be resident at once."""
        ...

    async def load(self, version: str, path: Path) -> None:
        """Make `version` answerable from the files in `path`; raises when the engine refuses it."""
        ...

    async def unload(self, version: str) -> None:
        """Forget `version`. Only after its requests have ended."""
        ...

    def resident(self) -> frozenset[str]:
        """The versions that can answer now."""
        ...

    def in_flight(self, version: str) -> int:
        """Requests of `version` that have not ended."""
        ...


class RegistryObserver:
    """Is told what the registry did: metrics hang here."""

    def route_changed(self, channel: str, epoch: int, live: str) -> None:
        """The channel's route is another one now (also told at start)."""

    def swapped(self, channel: str, seconds: float) -> None:
        """A version became live; `seconds` from the begin of its load to the active route."""

    def load_failed(self, version: str) -> None:
        """The engine refused `version`, or its files are damaged."""

    def fell_back(self, channel: str, version: str, serving: str) -> None:
        """`version` should be live and cannot; `serving` answers in its place."""

    def drained(self, version: str, *, in_time: bool) -> None:
        """`version` was unloaded; not in time means that requests were still in flight."""


class ClusterObserver:
    """Hears how this server keeps up with the others: for metrics."""

    def route_looked_up(self, *, found: bool) -> None:
        """The database was asked for the routes; not found means that it did not answer."""

    def servers_seen(self, ready: int, starting: int, draining: int) -> None:
        """The live servers on this database, this one included."""

    def change_waits(self, change: int) -> None:
        """So many more (or fewer) changes of a route wait for other servers' loads."""
