"""The open connections: admits new ones, evicts idle ones, and closes slow ones."""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from server.config import HttpConfig

MADE_ROOM = "made_room"
"""The reason for closing an idle connection in favour of a new one."""
SWEEP_SECONDS = 0.5
"""Seconds between two checks for slow peers, which is the precision of the timeouts."""
_IPV6_NETWORK_BITS = 64
"""The smallest network that a provider's customer gets (RFC 6177). Limits count networks, because a
peer has any number of single addresses."""


class Connection(Protocol):
    """A connection as `OpenConnections` needs it."""

    peer: str
    """The address or network that it counts for; see `peer_of`."""

    @property
    def waiting_since(self) -> float | None:
        """Monotonic time since which it waits for a complete request; None while answering one."""

    def close_for(self, reason: str) -> None:
        """Close the connection and count it under `reason`."""

    def check(self, now: float) -> None:
        """Close the connection if its peer is too slow; `now` is monotonic seconds."""


class ConnectionObserver:
    """Receives refused and closed connections; does nothing. Metrics subclass it."""

    def closed(self, reason: str) -> None:
        """Record a refused or closed connection, by one of a fixed set of reasons."""

    def count_with(self, count: Callable[[], int]) -> None:
        """Use `count` to read the number of open connections."""


def peer_of(address: object) -> str:
    """Return what a peer's address counts for: an IPv4 address, an IPv6 /64, or "unknown"."""
    host = address[0] if isinstance(address, tuple) and address else ""
    try:
        ip = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, _IPV6_NETWORK_BITS), strict=False))
    return str(ip)


def longest_waiting(connections: Iterable[Connection]) -> Connection | None:
    """Return the connection that has waited longest for a request; None if none waits."""
    waiting = [(since, one) for one in connections if (since := one.waiting_since) is not None]
    oldest = min(waiting, key=lambda entry: entry[0], default=None)  # of equals the first that came
    return None if oldest is None else oldest[1]


class OpenConnections:
    """All open connections of one server."""

    def __init__(self, config: HttpConfig, observer: ConnectionObserver | None = None) -> None:
        self.config = config
        self.observer = ConnectionObserver()
        self._open: dict[int, Connection] = {}
        self._per_peer: Counter[str] = Counter()
        self.report_to(observer or ConnectionObserver())

    def report_to(self, observer: ConnectionObserver) -> None:
        """Replace the observer."""
        self.observer = observer
        observer.count_with(lambda: len(self._open))

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection) -> bool:
        """Count a new connection, closing an idle one if a limit is reached.

        Returns:
            Whether it is admitted. A refused connection is counted too, until it is closed.

        """
        room = self._room_for(connection.peer)
        self._open[id(connection)] = connection
        self._per_peer[connection.peer] += 1
        return room

    def forget(self, connection: Connection) -> None:
        """Stop counting a closed connection."""
        if self._open.pop(id(connection), None) is None:
            return
        self._per_peer[connection.peer] -= 1
        if not self._per_peer[connection.peer]:
            del self._per_peer[connection.peer]

    def _room_for(self, peer: str) -> bool:
        if self._per_peer[peer] >= self.config.connections_per_peer:
            return self._close_one(one for one in self._open.values() if one.peer == peer)
        if len(self._open) >= self.config.connections:
            return self._close_one(self._open.values())
        return True

    def _close_one(self, connections: Iterable[Connection]) -> bool:
        one = longest_waiting(connections)
        if one is not None:
            one.close_for(MADE_ROOM)
        return one is not None

    def sweep(self, now: float) -> None:
        """Close the connections of slow peers; `now` is monotonic seconds."""
        for connection in list(self._open.values()):
            connection.check(now)


async def sweep_for_ever(
    connections: OpenConnections, monotonic: Callable[[], float], seconds: float = SWEEP_SECONDS
) -> None:
    """Sweep every `seconds` seconds, until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        connections.sweep(monotonic())
