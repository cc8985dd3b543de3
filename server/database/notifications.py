"""Receives the notifications of other servers on one PostgreSQL (`LISTEN`/`NOTIFY`)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection, sql
from sqlalchemy.engine import URL

log = structlog.get_logger()

RECONNECT_SECONDS = 1.0
CONNECT_SECONDS = 5
_PARAMETERS: dict[str, Any] = {
    "application_name": "pawl-listen",
    "target_session_attrs": "read-write",
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
}

Handler = Callable[[], Awaitable[None] | None]
"""Handles a notification; takes no arguments."""


class Notifications:
    """Listens on a connection of its own, and calls a handler for each notification.

    Notifications sent while there is no connection are lost. So all handlers are called after each
    connect, and users of a notification also poll.

    Args:
        url: The address of the database.
        handlers: The handler of each PostgreSQL channel.

    """

    def __init__(self, url: URL, handlers: Mapping[str, Handler]) -> None:
        _, named = url.get_dialect()().create_connect_args(url)
        self._parameters: dict[str, Any] = {**_PARAMETERS, **named}
        self._handlers = dict(handlers)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start listening in the background."""
        self._task = asyncio.create_task(self._listen_always(), name="notifications")

    async def close(self) -> None:
        """Stop listening and close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen_always(self) -> None:
        while True:
            try:
                await self._listen()
            except psycopg.Error as error:
                log.warning("notifications_lost", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        connection = await AsyncConnection.connect(autocommit=True, **self._parameters)
        async with connection:
            for name in self._handlers:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(name)))
            for name in self._handlers:
                await self._handle(name)
            async for notification in connection.notifies():
                await self._handle(notification.channel)

    async def _handle(self, name: str) -> None:
        try:
            pending = self._handlers[name]()
            if pending is not None:
                await pending
        except Exception as error:  # noqa: BLE001  (a failed handler must not end the listener)
            log.warning("signal_not_followed", signal=name, error=type(error).__name__)
