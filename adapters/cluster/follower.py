"""Keeps this server's routes and loaded adapters in step with the database.

Every `beat_seconds`, and whenever it is woken, the follower reads the routes, starts to load the
versions that they name, unloads versions that are no longer needed, and sends a heartbeat. Requests
use routes that were confirmed at most `route_age_seconds` ago or, while the database does not
answer, the last known ones.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

import structlog

from adapters.cluster.load_requests import LoadRequests
from adapters.cluster.membership import Membership, Report
from adapters.cluster.peers import Peer, standing
from adapters.cluster.reconciler import Reconciler
from adapters.config import ClusterConfig
from adapters.ledger import Ledger
from adapters.ports import ClusterObserver
from adapters.residency import Residency
from common.clock import Monotonic
from common.wakeups import Wakeups, until_woken

_LONG_AGO = float("-inf")
_LATE_SECONDS = 0.5
"""Seconds by which a wait overruns that show that this process was suspended, so that the database
is not to blame."""
_CLOSING_SECONDS = 5.0
"""Seconds that `close` waits for database work in progress before cancelling it."""


class Follower:
    """Polls the database in a background task until `close`.

    `release` unloads the versions that are no longer needed.
    """

    def __init__(  # noqa: PLR0913
        self,
        ledger: Ledger,
        residency: Residency,
        membership: Membership,
        requests: LoadRequests,
        config: ClusterConfig,
        observer: ClusterObserver,
        *,
        release: Callable[[], None],
        monotonic: Monotonic,
    ) -> None:
        self._ledger = ledger
        self._residency = residency
        self._membership = membership
        self._requests = requests
        self._config = config
        self._observer = observer
        self._release = release
        self._monotonic = monotonic
        self._wakes = Wakeups()
        self._reconciler = Reconciler(
            ledger,
            residency,
            retry_seconds=config.retry_seconds,
            loaded=self.wake,
            monotonic=monotonic,
        )
        self._confirmed = self._failed = self._polled = _LONG_AGO
        self._behind_since: float | None = None
        self._peers: list[Peer] = []
        self._pending: Mapping[str, str] = {}
        self._polling: asyncio.Task[None] | None = None
        self._reporting: asyncio.Task[None] | None = None
        self._loop: asyncio.Task[None] | None = None
        self._swept = _LONG_AGO
        self._draining: Callable[[], bool] = lambda: False
        self._log = structlog.get_logger()

    @property
    def age_seconds(self) -> float:
        """Seconds since the routes were last confirmed."""
        return self._monotonic() - self._confirmed

    @property
    def peers(self) -> list[Peer]:
        """The servers as last read from the database."""
        return self._peers

    @property
    def missing(self) -> list[str]:
        """The versions that the routes name and that are not loaded here."""
        return self._reconciler.missing()

    @property
    def spare(self) -> set[str]:
        """The versions that may be unloaded to free a slot for another."""
        return self._reconciler.spare

    def keep(self, version: str) -> None:
        """Keep `version` loaded even when no other server requests it any more."""
        self._reconciler.keep(version)

    @property
    def is_fallback(self) -> bool:
        """Whether this server lacks versions while another server is ready."""
        others = [one for one in self._peers if one.id != self._membership.me.id]
        ready = any(standing(one, self._config.dead_seconds) == "ready" for one in others)
        return ready and bool(self.missing)

    def wake(self) -> None:
        """Read the routes at once instead of at the next interval."""
        self._wakes.wake()

    def start(self, draining: Callable[[], bool]) -> None:
        """Start the background task. `draining` returns whether the server is shutting down."""
        self._draining = draining
        self._loop = asyncio.create_task(self._follow(), name="follow the routes")

    async def close(self) -> None:
        """Stop. Wait up to `_CLOSING_SECONDS` for database work in progress, then cancel it."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await self._reconciler.close()
        under_way = {task for task in (self._reporting, self._polling) if task is not None}
        if under_way:
            _, late = await asyncio.wait(under_way, timeout=_CLOSING_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def up_to_date(self) -> None:
        """Wait until a request may start; usually returns at once.

        Waits while the routes are stale (for example after the process was suspended), and while a
        version that receives traffic is still being loaded. Both waits are bounded, by
        `patience_seconds` and `catch_up_seconds`.
        """
        if self._loop is None:
            return
        if self._is_old(self._monotonic()):
            await self._confirm()
        if self._behind_since is not None:
            over = self._behind_since + self._config.catch_up_seconds
            await self._reconciler.done(max(0.0, over - self._monotonic()))

    async def poll(self) -> None:
        """Run one iteration of the loop: read the routes, start loading, send a heartbeat."""
        await self._poll()
        await self._report()

    def _is_old(self, now: float) -> bool:
        """Whether to confirm the routes; not while the database is known to be unavailable."""
        config = self._config
        # The loop detects within this time that the database is still unavailable.
        away = config.route_age_seconds + config.beat_seconds + config.patience_seconds
        return now - self._confirmed > config.route_age_seconds and now - self._failed > away

    async def _confirm(self) -> None:
        while self._is_old(self._monotonic()):
            if await self._is_slow(self._poll_once()):
                self._record_failure(self._monotonic(), "TimeoutError")

    async def _is_slow(self, poll: asyncio.Task[None]) -> bool:
        """Whether the database did not answer in time, though this process was not suspended."""
        patience, now = self._config.patience_seconds, self._monotonic()
        spent = now - self._polled
        left = patience - spent if spent < patience else patience
        await asyncio.wait({poll}, timeout=left)
        return not poll.done() and self._monotonic() - now - left < _LATE_SECONDS

    async def _follow(self) -> None:
        while True:
            mark = self._wakes.mark()
            if await self._is_slow(self._poll_once()):
                self._record_failure(self._monotonic(), "TimeoutError")
            if self._reporting is None or self._reporting.done():
                self._reporting = asyncio.create_task(self._report(), name="report this server")
            await until_woken(mark, self._config.beat_seconds)

    def _poll_once(self) -> asyncio.Task[None]:
        """Return the poll in progress, or start one."""
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll(), name="look for routes")
        return self._polling

    async def _poll(self) -> None:
        began = self._polled = self._monotonic()
        try:
            await self._ledger.refresh()
            self._confirmed = began
            self._catch_up()
            self._pending = await self._requests.pending()
            self._peers = await self._membership.peers()
        except Exception as error:  # noqa: BLE001  (whatever the driver raises: chat must continue)
            self._record_failure(began, type(error).__name__)
            return
        self._observer.route_looked_up(found=True)
        self._catch_up()
        self._release()
        self._observe_peers()

    def _catch_up(self) -> None:
        self._reconciler.begin(self._pending)
        self._update_behind()

    def _record_failure(self, when: float, error: str) -> None:
        """Record a poll that failed: it started, or timed out, at the monotonic time `when`."""
        known = self._failed > self._confirmed
        self._failed = max(self._failed, when)
        self._observer.route_looked_up(found=False)
        if not known:
            self._log.warning("routes_not_confirmed", error=error)

    def _update_behind(self) -> None:
        if not self._reconciler.may_catch_up():
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = self._monotonic()

    async def _report(self) -> None:
        if self.missing:
            self._membership.unready()
        try:
            await self._membership.beat(self._own_report())
            if self._monotonic() - self._swept > self._config.dead_seconds:
                self._swept = self._monotonic()
                await self._membership.sweep()
        except Exception as error:  # noqa: BLE001  (the next beat tries again)
            self._log.debug("not_reported", error=type(error).__name__)

    def _own_report(self) -> Report:
        return Report(
            loaded=self._residency.loaded(),
            leaving=self._residency.leaving(),
            failures=self._reconciler.failures,
            epochs={name: view.epoch for name, view in self._ledger.routes.items()},
            draining=self._draining(),
        )

    def _observe_peers(self) -> None:
        seen = Counter(standing(peer, self._config.dead_seconds) for peer in self._peers)
        self._observer.servers_seen(seen["ready"], seen["starting"], seen["draining"])
