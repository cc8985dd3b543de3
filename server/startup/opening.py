"""Opens the database at startup, or starts without it while it is unavailable.

If the database is unavailable, the server takes keys, routes and the id secret from
`last_known.json`, serves chat, spools the log, and runs the rest of startup in the background once
the database answers.
"""

import asyncio
from contextlib import AsyncExitStack

import structlog
from fastapi import FastAPI

from feedback.recorder.forwarder import Forwarder
from feedback.recorder.recorder import Recorder
from feedback.spool.spool import Spool
from feedback.storage.database_errors import is_outage
from server.auth.id_secret import id_secret
from server.auth.keys import KeyRing
from server.database.database import Database
from server.database.errors import DatabaseAwayError
from server.database.migrate import upgrade
from server.database.watch import DatabaseWatch
from server.errors import NotFreeError, SetupError
from server.metrics.metrics import Metrics
from server.settings import Settings
from server.startup.last_known import LastKnown, read_last_known

RETRY_SECONDS = 1.0
"""Seconds between two attempts to reach the database at startup."""

_log = structlog.get_logger()


class StartupState:
    """The database and what startup reads from it.

    `known` is the content of `last_known.json` if the server starts without its database, else
    None.
    """

    def __init__(self, app: FastAPI, stack: AsyncExitStack, metrics: Metrics, token: str) -> None:
        self._settings: Settings = app.state.settings
        self._offline: bool = app.state.offline
        self.database = Database(self._settings.database)
        stack.push_async_callback(self.database.close)
        loopback = self._settings.server.loopback
        self.keys = KeyRing(self.database, app.state.clock, token, loopback=loopback)
        self._watch = DatabaseWatch(self.database, metrics.spool)
        stack.push_async_callback(self._watch.close)
        self.known: LastKnown | None = None
        self.secret = b""
        """The HMAC key of interaction ids."""

    @property
    def name(self) -> str:
        """The database's address without its password."""
        return str(self.database.url)

    async def open(self) -> None:
        """Read keys and secret from the database, or from `last_known.json` if it is unavailable.

        Raises:
            NotFreeError: If there is no such file and the database does not answer within
                `server.database_wait_seconds`.
            SetupError: If the server would be reachable from elsewhere without any key.

        """
        await self._read_with_fallback()
        if not self._offline:
            self._check_keys()
            self._watch.start()

    async def prepare(self) -> None:
        """Migrate the database, then read the keys and the secret; raises the driver's errors."""
        await self._watch.look()
        if self.database.away:
            raise DatabaseAwayError
        await upgrade(self._settings.database)
        await self.keys.refresh()
        secret = await id_secret(self.database)
        if self.secret not in (b"", secret):
            _log.error("another_secret", cure="restart the server: its ids are of another database")
        self.secret = self.secret or secret

    async def _read_with_fallback(self) -> None:
        loop = asyncio.get_running_loop()
        patience = 0 if self._offline else self._settings.server.database_wait_seconds
        deadline = loop.time() + patience
        while True:
            try:
                await self.prepare()
            except Exception as error:
                if not is_outage(error):
                    raise
                kind = type(error).__name__
            else:
                return
            if self._use_last_known():
                _log.error("start_without_database", error=kind)
                return
            left = deadline - loop.time()
            if left <= 0:
                raise NotFreeError(_unreachable(self.name))
            _log.warning("database_awaited", error=kind, seconds_left=round(left))
            await asyncio.sleep(min(RETRY_SECONDS, left))

    def _use_last_known(self) -> bool:
        """Load `last_known.json`; return whether there is one."""
        if not self._offline:
            self.known = read_last_known(self._settings.data_dir, self.name)
        if self.known is None:
            return False
        self.keys.replace_all(self.known.key_rows())
        self.secret = self.known.secret
        return True

    def _check_keys(self) -> None:
        """Refuse to listen on a public address without any API key."""
        if not self._settings.server.loopback and self.keys.empty:
            raise SetupError(
                f"{self._settings.server.host} can be reached from elsewhere and there is no key: "
                "make one with 'pawl keys create --role admin', or listen on 127.0.0.1"
            )


async def open_recorder(
    app: FastAPI, opening: StartupState, metrics: Metrics, stack: AsyncExitStack
) -> tuple[Recorder, Forwarder | None]:
    """Start the writer of the log and its spool; the command line's app has no spool."""
    settings: Settings = app.state.settings
    forwarder = None
    if not app.state.offline:
        path = settings.data_dir / "spool" / "spool.db"
        forwarder = Forwarder(
            opening.database,
            Spool(path, settings.feedback.spool_max_bytes),
            settings.feedback,
            app.state.clock,
            metrics.recorder,
            metrics.spool,
        )
        if opening.known is not None:
            forwarder.switch_to_spool(DatabaseAwayError())
        await forwarder.start()
        stack.push_async_callback(forwarder.close)
    recorder = Recorder(opening.database, settings.feedback, metrics.recorder, forwarder)
    await recorder.start()
    stack.push_async_callback(recorder.close)
    return recorder, forwarder


def _unreachable(database: str) -> str:
    return (
        f"the database {database} does not answer, and this server has nothing to start without "
        "it: start the database, or correct database_url (PAWL_DATABASE_URL)"
    )
