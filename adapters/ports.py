"""What the registry asks of its surroundings. `server` provides both."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection
from sqlmodel.ext.asyncio.session import AsyncSession

Result = TypeVar("Result")

Clock = Callable[[], datetime]
"""Gives the time now, aware, in UTC."""

Guard = Callable[[AsyncSession], Awaitable[None]]
"""Asked in the transaction of a change, before it: raises where its author may not make it now.

So nobody who lost the right meanwhile (the owner of a run that another one took over) changes
anything, however long it slept between its last look and the change.
"""


async def anybody(session: AsyncSession) -> None:
    """The guard of changes that people make: lets them pass."""
    del session


Monotonic = Callable[[], float]
"""Seconds that only grow, from wherever."""


class Database(Protocol):
    """Short sessions. One writer at a time, whoever asks (`server.db.Database`)."""

    def read(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A session for reading."""
        ...

    def write(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A transaction: waits for its turn, commits durably on exit, rolls back on error."""
        ...

    async def transaction(self, work: Callable[[Connection], Result]) -> Result:
        """Do `work` in a transaction of its own that waits for no other server's."""
        ...


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


class RegistryObserver(Protocol):
    """Is told what the registry did: metrics hang here."""

    def route_changed(self, channel: str, epoch: int, live: str) -> None:
        """The channel's route is another one now (also told at start)."""
        ...

    def swapped(self, channel: str, seconds: float) -> None:
        """A version became live; `seconds` from the begin of its load to the active route."""
        ...

    def load_failed(self, version: str) -> None:
        """The engine refused `version`, or its files are damaged."""
        ...

    def fell_back(self, channel: str, version: str, serving: str) -> None:
        """`version` should be live and cannot; `serving` answers in its place."""
        ...

    def drained(self, version: str, *, in_time: bool) -> None:
        """`version` was unloaded; not in time means that requests were still in flight."""
        ...


class ClusterObserver(Protocol):
    """Hears how this server keeps up with the others: for metrics."""

    def route_looked_up(self, *, found: bool) -> None:
        """The database was asked for the routes; not found means that it did not answer."""
        ...

    def servers_seen(self, ready: int, starting: int, draining: int) -> None:
        """The live servers on this database, this one included."""
        ...

    def change_waits(self, change: int) -> None:
        """So many more (or fewer) changes of a route wait for other servers' loads."""
        ...


class SilentClusterObserver:
    """A `ClusterObserver` that keeps nothing."""

    def route_looked_up(self, *, found: bool) -> None:
        """Nothing."""

    def servers_seen(self, ready: int, starting: int, draining: int) -> None:
        """Nothing."""

    def change_waits(self, change: int) -> None:
        """Nothing."""


class SilentObserver:
    """A `RegistryObserver` that keeps nothing."""

    def route_changed(self, channel: str, epoch: int, live: str) -> None:
        """Nothing."""

    def swapped(self, channel: str, seconds: float) -> None:
        """Nothing."""

    def load_failed(self, version: str) -> None:
        """Nothing."""

    def fell_back(self, channel: str, version: str, serving: str) -> None:
        """Nothing."""

    def drained(self, version: str, *, in_time: bool) -> None:
        """Nothing."""
