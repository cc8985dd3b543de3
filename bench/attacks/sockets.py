"""Raw HTTP over sockets, for requests that a client library would not send."""

import socket
import time
from collections.abc import Iterable
from contextlib import suppress

from bench.attacks.attack import HOST

SECONDS = 30.0
_READ = 65_536


def connect(port: int, *, receive_buffer: int | None = None) -> socket.socket:
    """Open a connection; a small receive buffer keeps an unread answer with the server."""
    made = socket.socket()
    if receive_buffer is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    made.settimeout(SECONDS)
    made.connect((HOST, port))
    return made


def head(method: str, path: str, *headers: str) -> bytes:
    """Return a request's head."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", f"Host: {HOST}", *headers, "", "")).encode()


def pour(port: int, pieces: Iterable[bytes]) -> tuple[str, int]:
    """Send the pieces until the server stops reading; return the status and the bytes sent."""
    sent = 0
    with connect(port) as connection:
        with suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
                sent += len(piece)
        return status_of(connection), sent


def status_of(connection: socket.socket) -> str:
    """Return the status of the answer, or how the connection ended."""
    try:
        answer = connection.recv(_READ)
    except TimeoutError:
        return "no answer"
    except OSError:
        return "closed"
    return answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/") else "closed"


def post(port: int, path: str, body: bytes, token: str) -> tuple[str, int, float]:
    """Send a JSON body; return the answer's status and size, and the seconds it took."""
    began, size, first = time.monotonic(), 0, b""
    length = f"Content-Length: {len(body)}"
    wants = ("Content-Type: application/json", f"Authorization: Bearer {token}", length)
    with connect(port) as connection:
        connection.settimeout(4 * SECONDS)
        with suppress(OSError):
            connection.sendall(head("POST", path, *wants, "Connection: close") + body)
            while piece := connection.recv(_READ):
                first, size = first or piece, size + len(piece)
    status = first.split(b" ", 2)[1].decode() if first.startswith(b"HTTP/") else "closed"
    return status, size, time.monotonic() - began


def still_open(connections: Iterable[socket.socket]) -> int:
    """Return how many of the connections the server has not closed."""
    return sum(_open(one) for one in connections)


def _open(connection: socket.socket) -> bool:
    connection.setblocking(False)  # noqa: FBT003  (its own signature)
    try:
        while piece := connection.recv(_READ):
            if b"connection: close" in piece.lower():
                return False
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
