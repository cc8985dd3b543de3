"""Keeps this server at what the database says: its routes, and the adapters that they name.

Every second, and whenever it is woken, it looks for changed routes, loads what they name, lets go
of what nobody wants, and reports itself. Requests are begun on routes that were confirmed at most
`route_age_seconds` ago, or, where the database does not answer, on the last that were known.
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
"""A wait that ends so much later than asked for: this process was stopped, nobody else was slow."""
_CLOSING_SECONDS = 5.0


class Follower:
    """`let_go` unloads what nobody wants; `draining` tells whether the server is ending."""

    def __init__(  # noqa: PLR0913
        self,
        ledger: Ledger,
        residency: Residency,
        membership: Membership,
        requests: LoadRequests,
        config: ClusterConfig,
        observer: ClusterObserver,
        *,
        let_go: Callable[[], None],
        monotonic: Monotonic,
    ) -> None:
        self._ledger = ledger
        self._residency = residency
        self._membership = membership
        self._requests = requests
        self._config = config
        self._observer = observer
        self._let_go = let_go
        self._monotonic = monotonic
        self._wakes = Wakeups()
        self._catching_up = Reconciler(
            ledger,
            residency,
            retry_seconds=config.retry_seconds,
            loaded=self.wake,
            monotonic=monotonic,
        )
        self._confirmed = self._failed = self._looked = _LONG_AGO
        self._behind_since: float | None = None
        self._peers: list[Peer] = []
        self._pending: Mapping[str, str] = {}
        self._looking: asyncio.Task[None] | None = None
        self._reporting: asyncio.Task[None] | None = None
        self._loop: asyncio.Task[None] | None = None
        self._swept = _LONG_AGO
        self._draining: Callable[[], bool] = lambda: False
        self._log = structlog.get_logger()

    @property
    def age_seconds(self) -> float:
        """How long ago the routes were last confirmed."""
        return self._monotonic() - self._confirmed

    @property
    def peers(self) -> list[Peer]:
        """The servers as last seen."""
        return self._peers

    @property
    def missing(self) -> list[str]:
        """What the routes name and this server does not hold."""
        return self._catching_up.missing()

    @property
    def spare(self) -> set[str]:
        """What may be unloaded where another version needs its slot."""
        return self._catching_up.spare

    def keep(self, version: str) -> None:
        """Somebody wants the version here, whatever other servers ask for."""
        self._catching_up.keep(version)

    @property
    def is_fallback(self) -> bool:
        """Whether this server lacks versions while others hold all: requests should go there."""
        others = [one for one in self._peers if one.id != self._membership.me.id]
        ready = any(standing(one, self._config.dead_seconds) == "ready" for one in others)
        return ready and bool(self.missing)

    def wake(self) -> None:
        """Look at once: something has changed."""
        self._wakes.wake()

    def start(self, draining: Callable[[], bool]) -> None:
        """Begin to follow, until `close`."""
        self._draining = draining
        self._loop = asyncio.create_task(self._follow(), name="follow the routes")

    async def close(self) -> None:
        """Follow no more. A look at the database is let come to its end, within reason."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await self._catching_up.close()
        under_way = {task for task in (self._reporting, self._looking) if task is not None}
        if under_way:
            _, late = await asyncio.wait(under_way, timeout=_CLOSING_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def up_to_date(self) -> None:
        """Return once a request may begin; at once nearly always.

        Waits where the routes were not confirmed for too long, as after the process was stopped,
        and while a version that they send users to is still being loaded; both only for a while.
        """
        if self._loop is None:
            return
        if self._is_old(self._monotonic()):
            await self._confirm()
        if self._behind_since is not None:
            over = self._behind_since + self._config.catch_up_seconds
            await self._catching_up.done(max(0.0, over - self._monotonic()))

    async def pulse(self) -> None:
        """Look, begin to catch up, and report: one turn of the loop."""
        await self._look()
        await self._report()

    def _is_old(self, now: float) -> bool:
        """Whether the routes must be confirmed; not while the database is known to be away."""
        config = self._config
        # So often at least the loop finds out that it still is.
        away = config.route_age_seconds + config.beat_seconds + config.patience_seconds
        return now - self._confirmed > config.route_age_seconds and now - self._failed > away

    async def _confirm(self) -> None:
        while self._is_old(self._monotonic()):
            if await self._is_slow(self._look_once()):
                self._note_failure(self._monotonic(), "TimeoutError")

    async def _is_slow(self, look: asyncio.Task[None]) -> bool:
        """Whether the database had its time to answer. Not where this process was stopped."""
        patience, now = self._config.patience_seconds, self._monotonic()
        spent = now - self._looked
        left = patience - spent if spent < patience else patience
        await asyncio.wait({look}, timeout=left)
        return not look.done() and self._monotonic() - now - left < _LATE_SECONDS

    async def _follow(self) -> None:
        while True:
            mark = self._wakes.mark()
            if await self._is_slow(self._look_once()):
                self._note_failure(self._monotonic(), "TimeoutError")
            if self._reporting is None or self._reporting.done():
                self._reporting = asyncio.create_task(self._report(), name="report this server")
            await until_woken(mark, self._config.beat_seconds)

    def _look_once(self) -> asyncio.Task[None]:
        """The look that is under way, or a new one."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="look for routes")
        return self._looking

    async def _look(self) -> None:
        began = self._looked = self._monotonic()
        try:
            await self._ledger.refresh()
            self._confirmed = began
            self._catch_up()
            self._pending = await self._requests.pending()
            self._peers = await self._membership.peers()
        except Exception as error:  # noqa: BLE001  (whatever the driver raises: chat goes on)
            self._note_failure(began, type(error).__name__)
            return
        self._observer.route_looked_up(found=True)
        self._catch_up()
        self._let_go()
        self._tell_of_peers()

    def _catch_up(self) -> None:
        self._catching_up.begin(self._pending)
        self._note_behind()

    def _note_failure(self, when: float, error: str) -> None:
        """The database did not answer a look that began, or was given up, at `when`."""
        known = self._failed > self._confirmed
        self._failed = max(self._failed, when)
        self._observer.route_looked_up(found=False)
        if not known:
            self._log.warning("routes_not_confirmed", error=error)

    def _note_behind(self) -> None:
        if not self._catching_up.hopeful():
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = self._monotonic()

    async def _report(self) -> None:
        if self.missing:
            self._membership.unready()
        try:
            await self._membership.beat(self._said())
            if self._monotonic() - self._swept > self._config.dead_seconds:
                self._swept = self._monotonic()
                await self._membership.sweep()
        except Exception as error:  # noqa: BLE001  (the next beat tries again)
            self._log.debug("not_reported", error=type(error).__name__)

    def _said(self) -> Report:
        return Report(
            loaded=self._residency.loaded(),
            leaving=self._residency.leaving(),
            failures=self._catching_up.failures,
            epochs={name: view.epoch for name, view in self._ledger.routes.items()},
            draining=self._draining(),
        )

    def _tell_of_peers(self) -> None:
        seen = Counter(standing(peer, self._config.dead_seconds) for peer in self._peers)
        self._observer.servers_seen(seen["ready"], seen["starting"], seen["draining"])
