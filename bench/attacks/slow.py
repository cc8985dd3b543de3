"""S5: clients that send or read slowly or not at all, and pipelined requests."""

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from bench.attacks.attack import Attack, AttackError, Target
from bench.attacks.sockets import connect, head, still_open

SOCKETS = 360
UNREAD = 100
QUICK = {
    "PAWL_SERVER__HTTP__HEAD_SECONDS": "5",
    "PAWL_SERVER__HTTP__BODY_SECONDS": "8",
    "PAWL_SERVER__HTTP__KEEP_ALIVE_SECONDS": "8",
    "PAWL_SERVER__HTTP__WRITE_SECONDS": "5",
}
"""Shorter timeouts than the defaults, so that each attack ends in `WATCHED_SECONDS`."""
WATCHED_SECONDS = 18.0
_BODY = ("Content-Type: application/json", "Content-Length: 1000")


def _opened(target: Target, number: int, first: bytes, **options: int) -> list[socket.socket]:
    connections = []
    for _ in range(number):
        connection = connect(target.port, **options)
        connection.sendall(first)
        connections.append(connection)
    return connections


def _watch(connections: Sequence[socket.socket], trickle: bytes = b"") -> str:
    """Hold the connections, sending a byte a second on each; count those open at the end."""
    ends = time.monotonic() + WATCHED_SECONDS
    while time.monotonic() < ends:
        time.sleep(1)
        for connection in connections if trickle else ():
            with suppress(OSError):
                connection.sendall(trickle)
    seen = f"{still_open(connections)} of {len(connections)} open after {WATCHED_SECONDS:.0f} s"
    if not seen.startswith("0 "):
        raise AttackError(seen)
    return seen


def silent(target: Target) -> str:
    """Open connections that send nothing."""
    return _watch(_opened(target, SOCKETS, b""))


def slow_head(target: Target) -> str:
    """Send heads at a byte a second."""
    return _watch(_opened(target, SOCKETS, b"GET / HTTP/1.1\r\nHost: x\r\nx: "), b"a")


def slow_body(target: Target) -> str:
    """Send bodies at a byte a second."""
    authorization = f"Authorization: Bearer {target.app_key}"
    return _watch(
        _opened(target, SOCKETS, head("POST", "/v1/feedback", authorization, *_BODY)), b" "
    )


def _unread_request(target: Target) -> bytes:
    return head("GET", target.large_answer, f"Authorization: Bearer {target.app_key}")


def unread(target: Target) -> str:
    """Request answers of 730 kB, several on each connection, and read none."""
    wanted = _unread_request(target) * 4
    return _watch_unread(_opened(target, UNREAD, wanted, receive_buffer=4_096), _do_not_read)


def read_slowly(target: Target) -> str:
    """Request answers of 730 kB and read them at ten bytes a second."""
    wanted = _unread_request(target) * 4
    return _watch_unread(_opened(target, UNREAD, wanted, receive_buffer=4_096), _read_a_little)


def _do_not_read(_connection: socket.socket) -> None:
    """Read nothing."""


def _read_a_little(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.recv(10, socket.MSG_DONTWAIT)


def _watch_unread(
    connections: Sequence[socket.socket], read: Callable[[socket.socket], None]
) -> str:
    """Watch connections with unread answers; only TCP's state shows whether they are closed."""
    ends = time.monotonic() + WATCHED_SECONDS
    while time.monotonic() < ends:
        time.sleep(1)
        for connection in connections:
            read(connection)
    established = sum(_state(connection) == _ESTABLISHED for connection in connections)
    seen = f"{established} of {len(connections)} open after {WATCHED_SECONDS:.0f} s"
    if established:
        raise AttackError(seen)
    return seen


_ESTABLISHED = 1
"""TCP_ESTABLISHED, the first byte of TCP_INFO (tcp(7))."""


def _state(connection: socket.socket) -> int:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def pipelined(target: Target) -> str:
    """Pipeline 20,000 requests on each connection."""
    many = head("GET", "/health/live") * 20_000
    connections = []
    for _ in range(20):
        connection = connect(target.port, receive_buffer=4_096)
        connection.settimeout(1)
        with suppress(OSError):
            connection.sendall(many)
        connections.append(connection)
    time.sleep(WATCHED_SECONDS)
    return f"{len(connections)} connections"


def more_than_fit(target: Target) -> str:
    """Open more connections than the server accepts; another client must still get through."""
    connections = []
    for _ in range(1_500):
        with suppress(OSError):
            connections.append(connect(target.port))
    time.sleep(3)
    return f"{still_open(connections)} of {len(connections)} open"


ATTACKS = (
    Attack("S5", f"{SOCKETS} silent connections", silent, QUICK),
    Attack("S5", f"{SOCKETS} heads, a byte a second", slow_head, QUICK),
    Attack("S5", f"{SOCKETS} bodies, a byte a second", slow_body, QUICK),
    Attack("S5", f"{UNREAD} unread answers of 730 kB", unread, QUICK),
    Attack("S5", f"{UNREAD} answers read at 10 B/s", read_slowly, QUICK),
    Attack("S5", "20 x 20,000 requests sent ahead", pipelined, QUICK),
    Attack("S5", "1,500 connections at once", more_than_fit, QUICK),
)
