"""Notices a PostgreSQL that is connected and says nothing (a paused machine, a stuck disk).

The network does not tell: its kernel still acknowledges what we send. So while an operation takes
long, a new connection is tried. Where that gets no answer either, the waiting ones are cut, and
fail as if the database had closed them. A query that merely takes long is left alone.
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
"""An operation that takes longer is looked after."""
ANSWER_SECONDS = 2
"""So long a try may take; libpq's least."""
TRIES = 2

_log = structlog.get_logger()


class HungConnections:
    """Looks after the operations of one `Database`, on its event loop."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """`parameters` are psycopg's for a connection to the database."""
        self._parameters = {**parameters, "connect_timeout": ANSWER_SECONDS}
        self._connections: WeakSet[BaseConnection[Any]] = WeakSet()
        self._connections_lock = threading.Lock()  # the writer's thread connects, the loop cuts
        self._running = 0
        self._watch: asyncio.Task[None] | None = None

    def follow(self, engine: Engine) -> None:
        """Have the engine's connections cut, too."""

        @event.listens_for(engine, "connect")
        def _on_connect(connection: Any, _record: Any) -> None:
            with self._connections_lock:
                self._connections.add(getattr(connection, "driver_connection", connection))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look after what the block does, once it takes long."""
        later = asyncio.get_running_loop().call_later(LONG_SECONDS, self._begin)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            later.cancel()

    async def close(self) -> None:
        """Stop looking."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch

    def _begin(self) -> None:
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look(), name="silence watch")

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
        """Whether the database says anything at all to a new client, be it no."""
        try:
            connection = await AsyncConnection.connect(**self._parameters)
        except ConnectionTimeout:
            return False
        except PsycopgError:
            return True
        await connection.close()
        return True

    def cut(self) -> None:
        """End the connections beneath whoever waits, in whatever thread."""
        with self._connections_lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(PsycopgError, OSError), socket.socket(fileno=_own(connection)) as one:
                one.shutdown(socket.SHUT_RDWR)


def _own(connection: BaseConnection[Any]) -> int:
    """A descriptor of our own of the connection's socket."""
    return os.dup(connection.fileno())
