"""Interfaces that the registry needs; the server implements them."""

from pathlib import Path
from typing import Protocol


class AdapterHost(Protocol):
    """The part of an engine that loads and unloads adapters."""

    @property
    def slots(self) -> int:
        """How many adapters can be loaded at the same time."""
        ...

    async def load(self, version: str, path: Path) -> None:
        """Load `version` from the files in `path`; raises if the engine refuses it."""
        ...

    async def unload(self, version: str) -> None:
        """Unload `version`. Call it only after its requests have ended."""
        ...

    def resident(self) -> frozenset[str]:
        """Return the versions that are loaded."""
        ...

    def in_flight(self, version: str) -> int:
        """Return how many requests of `version` are running."""
        ...


class RegistryObserver:
    """Receives what the registry did, for metrics. Override the methods that you need."""

    def route_changed(self, channel: str, epoch: int, live: str) -> None:
        """The channel's route has changed; also called at start."""

    def swapped(self, channel: str, seconds: float) -> None:
        """A version became live, `seconds` after its load began."""

    def load_failed(self, version: str) -> None:
        """The engine refused `version`, or its files are damaged."""

    def fell_back(self, channel: str, version: str, serving: str) -> None:
        """`version` is live but cannot answer; `serving` answers instead."""

    def drained(self, version: str, *, in_time: bool) -> None:
        """`version` was unloaded; `in_time` is false if requests were still running."""


class ClusterObserver:
    """Receives how this server keeps up with the others, for metrics."""

    def route_looked_up(self, *, found: bool) -> None:
        """The routes were read; `found` is false if the database did not answer."""

    def servers_seen(self, ready: int, starting: int, draining: int) -> None:
        """The numbers of running servers on this database by standing, this one included."""

    def change_waits(self, change: int) -> None:
        """The number of route changes that wait for other servers' loads changed by `change`."""
