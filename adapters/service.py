"""The registry: adapters are added, promoted, rolled back and retired.

This file exceeds 400 lines because it is the package's facade: its methods document the operations
and their errors, and delegate to `route_changes`, `cluster.follower`, `admission`, `recovery` and
`residency`.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import structlog

from adapters.admission import Admission, Candidate
from adapters.cluster.follower import Follower
from adapters.cluster.load_requests import LoadRequests
from adapters.cluster.membership import Identity, Membership
from adapters.cluster.peers import Peer, alive
from adapters.config import AdaptersConfig
from adapters.errors import UnknownVersionError
from adapters.ledger import Author, Ledger
from adapters.models import Version
from adapters.names import BASE
from adapters.ports import AdapterHost, ClusterObserver, RegistryObserver
from adapters.recovery import Recovery
from adapters.residency import Residency, Sleep
from adapters.route_changes import Changes, Swap
from adapters.routing.lifecycle import State
from adapters.routing.route import Resolved, RouteView, resolve
from adapters.schemas import RouteIn, VersionOut
from adapters.store.artifacts import Artifacts
from adapters.version_reader import VersionReader
from adapters.vetting.base_model import BaseModelInfo
from common.clock import Clock, Monotonic
from common.database import Database, Guard, allow_any
from common.wakeups import Wakeups

__all__ = ["Registry", "Swap"]

_T = TypeVar("_T")


def since_boot() -> float:
    """Return monotonic seconds that also count while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Registry(VersionReader):
    """The facade for all changes of versions and routes, which are serialised per channel.

    Versions are loaded before a change takes its channel's lock, so that a rollback never waits for
    a load, except for up to `STANDBY_SECONDS` for a standby that no server has loaded. A change
    that has begun is finished even if its caller is cancelled. Failures are raised as an
    `AdaptersError` or as the database's own error; the route is then unchanged.

    Methods that take an `epoch` raise `StaleRouteError`, without a change, if it is not None and
    not the route's.
    """

    def __init__(  # noqa: PLR0913
        self,
        database: Database,
        host: AdapterHost,
        store: Artifacts,
        clock: Clock,
        config: AdaptersConfig,
        base: BaseModelInfo,
        observer: RegistryObserver,
        *,
        me: Identity | None = None,
        cluster_observer: ClusterObserver | None = None,
        sleep: Sleep = asyncio.sleep,
        monotonic: Monotonic = since_boot,
    ) -> None:
        super().__init__(database)
        me = me or Identity(secrets.token_hex(8), base_fingerprint=base.fingerprint)
        watcher = cluster_observer or ClusterObserver()
        self._ledger = Ledger(database, clock, observer)
        self._residency = Residency(
            host,
            store,
            config,
            observer,
            self._needed,
            sleep=sleep,
            monotonic=monotonic,
        )
        self._server_reports = Wakeups()
        self._membership = Membership(database, config.cluster, me)
        requests = LoadRequests(
            database, self._membership, config, watcher, self._server_reports, monotonic
        )
        self._changes = Changes(
            self._ledger,
            self._residency,
            self._membership,
            requests,
            observer,
            dead_seconds=config.cluster.dead_seconds,
            monotonic=monotonic,
        )
        self._follower = Follower(
            self._ledger,
            self._residency,
            self._membership,
            requests,
            config.cluster,
            watcher,
            release=self._changes.release,
            monotonic=monotonic,
        )
        self._admission = Admission(self._ledger, store, clock, config, base)
        self._recovery = Recovery(self._ledger, self._residency, base, observer)
        self._host = host
        self._store = store
        self._config = config
        self._registered = False
        self._changing: set[asyncio.Task[Any]] = set()
        self._log = structlog.get_logger()

    async def start(self) -> None:
        """Delete unfinished work, create the default channel, load the versions of the routes.

        A live version that cannot be loaded is replaced by standby or the base model, which is
        logged as an error. Raises only `ForeignBaseModelError` and the errors of a database or a
        disk that does not answer. Requests may be answered once it returns.
        """
        await self._clear_leftovers()
        await self.join()

    async def start_without_database(
        self, views: Sequence[RouteView], versions: Mapping[str, Version]
    ) -> None:
        """Start with the last known routes and load their versions.

        Call `join` to complete the start once the database is available.
        """
        await self._clear_leftovers()
        self._ledger.replace_all(views)
        await self._recovery.load_known(versions)

    async def join(self) -> None:
        """Create the default channel, register this server, load the versions of the routes."""
        await self._ledger.ensure_channel(self._config.channel, self._config.tenant, shared=False)
        # Register before loading, so that route changes from now on take this server into account.
        peers = alive(await self._membership.register(), self._config.cluster.dead_seconds)
        self._registered = True
        await self._recovery.run(alone=len(peers) < 2)  # noqa: PLR2004  (itself among them)
        await self._follower.poll()

    async def _clear_leftovers(self) -> None:
        leftovers = await asyncio.to_thread(self._store.clear_leftovers)
        if leftovers:
            self._log.warning("adapter_leftovers_removed", folders=leftovers)

    def follow(self, draining: Callable[[], bool]) -> None:
        """Start to follow other servers' changes and to send heartbeats, until `close`.

        `draining` returns whether the server is shutting down.
        """
        self._follower.start(draining)

    def route_signalled(self) -> None:
        """Read the routes at once: a route, a version or a load request has changed."""
        self._follower.wake()

    def server_signalled(self) -> None:
        """Wake the changes that wait for other servers' loads: a server has reported itself."""
        self._server_reports.wake()

    async def up_to_date(self) -> None:
        """Wait until a request may start; see `adapters.cluster.follower.Follower.up_to_date`."""
        await self._follower.up_to_date()

    @property
    def route_age_seconds(self) -> float:
        """Seconds since the routes were last confirmed against the database."""
        return self._follower.age_seconds

    @property
    def is_fallback(self) -> bool:
        """Whether this server lacks versions while another server is ready."""
        return self._follower.is_fallback

    @property
    def server_id(self) -> str:
        """The id of this server in the table of servers."""
        return self._membership.me.id

    async def servers(self) -> list[Peer]:
        """Return the servers on this database, oldest first, including recently dead ones."""
        return await self._membership.peers()

    async def read_routes(self) -> None:
        """Read the routes from the database without loading anything: for command-line tools."""
        await self._ledger.refresh()

    async def close(self) -> None:
        """Finish the changes that have begun, cancel drains, and unregister this server."""
        await asyncio.gather(*self._changing, return_exceptions=True)
        await self._changes.close()
        await self._follower.close()
        await self._residency.close()
        if self._registered:
            self._registered = False
            await self._leave()

    def routes(self) -> Mapping[str, RouteView]:
        """Return every channel's route as last committed, from the cache."""
        return self._ledger.routes

    def resolve(
        self, model: str, *, tenant: str | None = None, user: str = "", in_trial: bool = True
    ) -> Resolved:
        """Return the version that answers `model`; see `adapters.routing.route.resolve`."""
        routes, resident = self._ledger.routes, self._host.resident()
        return resolve(model, routes, resident, tenant=tenant, user=user, in_trial=in_trial)

    async def ensure_channel(self, name: str, tenant: str, *, shared: bool = False) -> None:
        """Create the channel, with `base` live, unless it exists; set `shared` in any case."""
        await self._finish(self._ledger.ensure_channel(name, tenant, shared=shared))

    async def add(  # noqa: PLR0913  (the metadata of an adapter)
        self,
        folder: Path,
        *,
        channel: str,
        actor: str,
        slot: str | None = None,
        run: str | None = None,
        parent: str | None = None,
        figures: Mapping[str, Any] | None = None,
        guard: Guard = allow_any,
    ) -> Version:
        """Vet the adapter in `folder`, publish it and register it as a candidate.

        Adding the same content again returns the existing version if it is of the same run, else
        raises `DuplicateAdapterError`. Raises a `VettingError` if the adapter is refused.
        """
        self._ledger.view(channel)
        parent = None if parent == BASE else parent
        await self._check_parent(channel, parent)
        candidate = Candidate(channel, actor, slot, run, parent, dict(figures or {}), guard)
        return await self._finish(self._admission.add(folder, candidate))

    async def load(self, version: str) -> None:
        """Load a version that may still answer; raises what `Residency.load` raises."""
        self._follower.keep(version)
        await self._finish(self._changes.load(version))

    async def promote(
        self,
        version: str,
        *,
        actor: str,
        reason: str,
        holdback_share: float = 0.0,
        epoch: int | None = None,
        guard: Guard = allow_any,
    ) -> Swap:
        """Make `version` live: load it on every server, then change the route in one transaction.

        `holdback_share` (0 to 1) of the users stay on the previous version, and a new trial
        compares the two. Raises `NotLoadedEverywhereError` if a server cannot load it in time.
        """
        author = Author(actor, reason, guard)
        return await self._finish(self._changes.promote(version, author, holdback_share, epoch))

    async def set_shadow(
        self, version: str, share: float, *, actor: str, reason: str, epoch: int | None = None
    ) -> RouteView:
        """Make the version the shadow of `share` (0 to 1) of its channel's requests.

        A shadow's answers are logged and not returned.
        """
        channel = (await self.version(version)).channel

        def wanted(view: RouteView) -> RouteIn:
            return RouteIn(
                canary=view.canary,
                canary_share=view.canary_share,
                shadow=version,
                shadow_share=share,
            )

        author = Author(actor, reason)
        return await self._finish(self._changes.set_route(channel, wanted, author, epoch))

    async def set_canary(
        self, version: str, share: float, *, actor: str, reason: str, epoch: int | None = None
    ) -> RouteView:
        """Make the version the canary of `share` (0 to 1) of the users, in a new trial."""
        channel = (await self.version(version)).channel

        def wanted(view: RouteView) -> RouteIn:
            return RouteIn(
                canary=version,
                canary_share=share,
                shadow=None if view.shadow == version else view.shadow,
                shadow_share=0.0 if view.shadow == version else view.shadow_share,
            )

        author = Author(actor, reason)
        return await self._finish(self._changes.set_route(channel, wanted, author, epoch))

    async def end_trial(
        self, channel: str, *, actor: str, reason: str, epoch: int | None = None
    ) -> RouteView:
        """End the trial: a canary is rolled back, a holdback ends; live answers all users."""
        author = Author(actor, reason)
        return await self._finish(self._changes.end_trial(channel, author, epoch))

    async def reject(
        self, version: str, *, actor: str, reason: str, guard: Guard = allow_any
    ) -> None:
        """Reject a candidate or shadow; it is unloaded once its requests have ended."""
        author = Author(actor, reason, guard)
        await self._finish(self._changes.end(version, State.REJECTED, author))

    async def retire(self, version: str, *, actor: str, reason: str) -> None:
        """Retire a standby: unload it once its requests have ended; keep its files `grace_days`.

        Returns when it is unloaded here, after `drain_deadline_seconds` at the latest.
        """
        row = await self.version(version)
        if row.state != State.RETIRED:
            author = Author(actor, reason)
            await self._finish(self._changes.end(version, State.RETIRED, author))
        await self._residency.drain(version)

    async def quarantine(self, version: str, *, actor: str, reason: str) -> bool:
        """Take a harmful version out of service for good; return whether it was still in service.

        Standby or the base model replaces a live one. Does not wait for other servers.
        """
        return await self._finish(self._changes.quarantine(version, Author(actor, reason)))

    async def rollback(
        self, channel: str, *, actor: str, reason: str, epoch: int | None = None
    ) -> Swap:
        """Undo the last promotion: make standby live or, without one, the base model."""
        author = Author(actor, reason)
        return await self._finish(self._changes.rollback(channel, author, epoch))

    async def set_route(
        self, channel: str, wanted: RouteIn, *, actor: str, reason: str
    ) -> RouteView:
        """Replace the whole route in one transaction, once all servers have loaded it."""
        author = Author(actor, reason)
        return await self._finish(self._changes.set_route(channel, lambda _: wanted, author, None))

    async def route_now(self, channel: str) -> RouteView:
        """Return the channel's route, read from the database; raises `UnknownChannelError`."""
        await self._ledger.refresh()
        return self._ledger.view(channel)

    async def describe(self, channel: str) -> list[VersionOut]:
        """Return the channel's versions with lineage and residency, oldest first."""
        rows = await self.versions(channel)
        parents = {row.name: row.parent for row in rows}
        return [VersionOut.of(row, parents, self._host.resident()) for row in rows]

    async def set_figures(
        self, version: str, figures: Mapping[str, Any], *, guard: Guard = allow_any
    ) -> None:
        """Merge `figures` into those of the version; new values replace old ones."""
        await self._ledger.set_figures(version, figures, guard)

    async def purge(self, now: datetime) -> list[str]:
        """Delete the files of versions that ended `grace_days` ago; return their names."""
        moment = now - timedelta(days=self._config.grace_days)
        held = await self._held_elsewhere()
        purged = []
        for row in await self.ended_before(moment):
            if row.name in held or self._used(row.name):
                continue
            if await asyncio.to_thread(self._store.exists, row):
                await asyncio.to_thread(self._store.remove, row)
                self._log.info("adapter_files_removed", version=row.name)
                purged.append(row.name)
        return purged

    def _needed(self) -> dict[str, str]:
        """The versions that must not be unloaded to free a slot, with their states."""
        spare = self._follower.spare
        return {name: state for name, state in self._ledger.wanted.items() if name not in spare}

    async def _held_elsewhere(self) -> set[str]:
        """The versions whose files any server needs, including servers that may be dead."""
        peers = await self._membership.peers()
        return {name for peer in peers for name in peer.loaded | peer.leaving}

    def _used(self, version: str) -> bool:
        """Whether the files are in use; a request that outlived the drain still reads them."""
        return version in self._host.resident() or self._host.in_flight(version) > 0

    async def _leave(self) -> None:
        try:
            await self._membership.leave()
        except Exception as error:  # noqa: BLE001  (the others notice the missing heartbeats)
            self._log.warning("server_not_removed", error=type(error).__name__)

    async def _check_parent(self, channel: str, parent: str | None) -> None:
        if parent is not None and parent not in await self.parents(channel):
            raise UnknownVersionError

    async def _finish(self, work: Awaitable[_T]) -> _T:
        """Await `work`, which continues even if the caller is cancelled."""
        task = asyncio.ensure_future(work)
        self._changing.add(task)
        task.add_done_callback(self._changing.discard)
        return await asyncio.shield(task)
