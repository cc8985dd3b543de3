"""Hears what servers on one PostgreSQL tell each other (`LISTEN`), on a connection of its own."""

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

Hear = Callable[[], Awaitable[None] | None]
"""What to do about a signal."""


class Notifications:
    """Calls what was asked for when its signal comes, and all of it after each (re)connection.

    Signals that are sent while there is no connection are lost: whoever relies on them also looks
    from time to time.
    """

    def __init__(self, url: URL, hear: Mapping[str, Hear]) -> None:
        _, named = url.get_dialect()().create_connect_args(url)
        self._parameters: dict[str, Any] = {**_PARAMETERS, **named}
        self._hear = dict(hear)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen, in the background."""
        self._task = asyncio.create_task(self._listen_always(), name="notifications")

    async def close(self) -> None:
        """Listen no more."""
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
            for name in self._hear:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(name)))
            for name in self._hear:
                await self._heard(name)
            async for notification in connection.notifies():
                await self._heard(notification.channel)

    async def _heard(self, name: str) -> None:
        try:
            answer = self._hear[name]()
            if answer is not None:
                await answer
        except Exception as error:  # noqa: BLE001  (one signal must not end them all)
            log.warning("signal_not_followed", signal=name, error=type(error).__name__)
