"""Refreshes the cache of API keys and rewrites `last_known.json` when keys or routes change."""

import asyncio
from contextlib import suppress
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from adapters.errors import AdaptersError
from adapters.names import BASE
from adapters.routing.route import RouteView
from adapters.service import Registry
from server.auth.keys import KeyRing
from server.startup.last_known import LastKnown, last_known, write_last_known

LOOK_SECONDS = 0.5
"""Seconds between two checks for changes, so the file is at most this old."""
REFRESH_SECONDS = 5.0
"""Seconds between two reads of the keys; a key revoked on another server may work for that long."""

_log = structlog.get_logger()


class LastKnownWriter:
    """A background task that reads the keys and writes the file after changes."""

    def __init__(
        self, folder: Path, database: str, secret: bytes, keys: KeyRing, registry: Registry
    ) -> None:
        self._folder = folder
        self._database = database
        self._secret = secret
        self._keys = keys
        self._registry = registry
        self._written: LastKnown | None = None
        self._seen: tuple[object, object] = (None, None)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task, which writes the file at once."""
        self._task = asyncio.create_task(self._run(), name="last known writer")

    async def close(self) -> None:
        """Stop the task and write the changes since the last check."""
        if self._task is None:
            return
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._try_to_save()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        refresh_at = loop.time() + REFRESH_SECONDS
        while True:
            if loop.time() >= refresh_at:
                await self._try_to_refresh()
                refresh_at = loop.time() + REFRESH_SECONDS
            await self._try_to_save()
            await asyncio.sleep(LOOK_SECONDS)

    async def _try_to_refresh(self) -> None:
        try:
            await self._keys.refresh()
        except (OSError, SQLAlchemyError) as error:
            _log.warning("keys_not_refreshed", error=type(error).__name__)

    async def _try_to_save(self) -> None:
        seen = (self._keys.rows, self._registry.routes())
        if all(new is old for new, old in zip(seen, self._seen, strict=True)):
            return
        try:
            await self._save()
        except (OSError, SQLAlchemyError, AdaptersError) as error:
            _log.warning("last_known_not_written", error=type(error).__name__)
        else:
            self._seen = seen

    async def _save(self) -> None:
        routes = self._registry.routes()
        names = sorted({name for view in routes.values() for name in _named(view)})
        versions = [await self._registry.version(name) for name in names]
        known = last_known(self._database, self._secret, self._keys.rows, routes, versions)
        if known != self._written:
            await asyncio.to_thread(write_last_known, self._folder, known)
            self._written = known


def _named(view: RouteView) -> set[str]:
    """Return the versions that a server loads at startup."""
    return set(view.roles) - {BASE}
