"""The open connections: who may come in, who has to go, and who has been too slow."""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from server.config import HttpConfig

MADE_ROOM = "made_room"
"""Why a connection was closed that had done nothing wrong."""
SWEEP_SECONDS = 0.5
"""How often slow peers are looked for: times are kept to within this."""
_IPV6_NETWORK_BITS = 64
"""What one customer of a provider has at least (RFC 6177); single addresses cost nothing."""


class Connection(Protocol):
    """What is asked of one connection."""

    peer: str
    """See `peer_of`."""

    @property
    def waiting_since(self) -> float | None:
        """Since when it waits for a request to be complete; None while one is being answered."""

    def close_for(self, reason: str) -> None:
        """Close it for another's sake."""

    def check(self, now: float) -> None:
        """Close it if its peer has been too slow."""


class ConnectionObserver:
    """Told what is refused and closed; does nothing. Metrics subclass it."""

    def closed(self, reason: str) -> None:
        """A connection was refused or closed, for one of a fixed set of reasons."""

    def count_with(self, count: Callable[[], int]) -> None:
        """From now on `count` says how many connections are open."""


def peer_of(address: object) -> str:
    """Whom a socket's peer address counts for: an IPv4 address, an IPv6 /64, or nobody known."""
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
    """The one that has waited longest for a request; None while all are being answered."""
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
        """Tell `observer` from now on."""
        self.observer = observer
        observer.count_with(lambda: len(self._open))

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection) -> bool:
        """Count a new connection; whether there is room, made by closing one if need be.

        One that is refused is counted too, until it is closed.
        """
        room = self._room_for(connection.peer)
        self._open[id(connection)] = connection
        self._per_peer[connection.peer] += 1
        return room

    def forget(self, connection: Connection) -> None:
        """It is closed."""
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
        """Close those whose peers have been too slow."""
        for connection in list(self._open.values()):
            connection.check(now)


async def sweep_for_ever(
    connections: OpenConnections, monotonic: Callable[[], float], seconds: float = SWEEP_SECONDS
) -> None:
    """Look for slow peers, until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        connections.sweep(monotonic())
