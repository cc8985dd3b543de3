"""The sockets of a database's connections, so that all can be cut at once.

A PostgreSQL that is stopped or unreachable leaves its connections open: whoever waits for an answer
would wait for minutes, and cancelling does not help, for a driver then waits for the server to
confirm. Shut down, a socket tells the driver at once that nothing comes any more.
"""

import os
import socket
from collections.abc import Iterable
from typing import Any
from weakref import WeakSet

from psycopg.pq import ConnStatus
from sqlalchemy import Engine, event


class Wires:
    """Knows the connections of some engines. SQLite's have no sockets: they are let be."""

    def __init__(self, engines: Iterable[Engine]) -> None:
        self._connections: WeakSet[Any] = WeakSet()
        for engine in engines:
            if engine.dialect.driver == "psycopg":
                event.listen(engine, "connect", self._connected, insert=True)

    def cut(self) -> None:
        """Shut all sockets down; statements under way fail as if the server had left."""
        for connection in list(self._connections):
            if connection.pgconn.status == ConnStatus.OK:
                with socket.socket(fileno=os.dup(connection.pgconn.socket)) as wire:
                    _shut_down(wire)

    def _connected(self, _connection: Any, record: Any) -> None:
        self._connections.add(record.driver_connection)


def _shut_down(wire: socket.socket) -> None:
    try:
        wire.shutdown(socket.SHUT_RDWR)
    except OSError:  # the other side was faster
        return
