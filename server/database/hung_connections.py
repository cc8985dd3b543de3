"""Detects a PostgreSQL server that no longer responds (a paused machine, a stuck disk).

TCP cannot detect this: the machine's kernel still acknowledges packets. So while an operation takes
long, new connections are tried. If these time out too, all open connections are cut and their
operations fail as if the server had closed them. A query that is merely slow is not affected.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import structlog
from psycopg import AsyncConnection, BaseConnection
from psycopg import Error as PsycopgError
from psycopg.errors import ConnectionTimeout
from sqlalchemy import Engine, event

LONG_SECONDS = 1.5
"""Seconds after which a running operation triggers connection attempts."""
ANSWER_SECONDS = 2
"""Timeout in seconds of one connection attempt; libpq's minimum for `connect_timeout`."""
TRIES = 2
"""Attempts in a row that must time out before connections are cut."""

_log = structlog.get_logger()


class HungConnections:
    """Watches the operations of one `Database`, on its event loop."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Take psycopg's connection parameters of the database."""
        self._parameters = {**parameters, "connect_timeout": ANSWER_SECONDS}
        self._connections: WeakSet[BaseConnection[Any]] = WeakSet()
        self._connections_lock = threading.Lock()  # the writer's thread connects, the loop cuts
        self._running = 0
        self._watch: asyncio.Task[None] | None = None

    def follow(self, engine: Engine) -> None:
        """Include the engine's connections in those that `cut` closes."""

        @event.listens_for(engine, "connect")
        def _on_connect(connection: Any, _record: Any) -> None:
            with self._connections_lock:
                self._connections.add(getattr(connection, "driver_connection", connection))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the block's operation once it takes longer than `LONG_SECONDS`."""
        later = asyncio.get_running_loop().call_later(LONG_SECONDS, self._begin)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            later.cancel()

    async def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch

    def _begin(self) -> None:
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look(), name="hung connections watch")

    async def _look(self) -> None:
        silent = 0
        while self._running:
            silent = 0 if await self._answers() else silent + 1
            if silent >= TRIES:
                _log.warning("database_silent", connections=len(self._connections))
                self.cut()
            if not silent:
                await asyncio.sleep(LONG_SECONDS)

    async def _answers(self) -> bool:
        """Whether the server responds to a new connection, even with a refusal."""
        try:
            connection = await AsyncConnection.connect(**self._parameters)
        except ConnectionTimeout:
            return False
        except PsycopgError:
            return True
        await connection.close()
        return True

    def cut(self) -> None:
        """Shut down the sockets of all connections, so that operations on any thread fail."""
        with self._connections_lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(PsycopgError, OSError), socket.socket(fileno=_own(connection)) as one:
                one.shutdown(socket.SHUT_RDWR)


def _own(connection: BaseConnection[Any]) -> int:
    """Return a duplicate of the connection's socket descriptor, which the caller closes."""
    return os.dup(connection.fileno())
