"""The registry: adapters come in, become live, are rolled back and retired.

Past 400 lines because it is the one door to this room: its methods say what may be asked and what
is raised, and hand over to `changes`, `follower`, `admission`, `recovery` and `residency`.
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
from adapters.models import Version, VersionEvent
from adapters.names import BASE
from adapters.ports import AdapterHost, ClusterObserver, RegistryObserver
from adapters.recovery import Recovery
from adapters.residency import Residency, Sleep
from adapters.route_changes import Changes, Swap
from adapters.routing.lifecycle import State, lineage
from adapters.routing.route import Resolved, RouteView, resolve
from adapters.schemas import RouteIn, VersionOut
from adapters.store.artifacts import Artifacts
from adapters.vetting.base_model import BaseModelInfo
from common.clock import Clock, Monotonic
from common.database import Database, Guard, allow_any
from common.wakeups import Wakeups

__all__ = ["Registry", "Swap"]

_T = TypeVar("_T")


def since_boot() -> float:
    """Seconds that pass while this process is stopped and while the machine is suspended, too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Registry:
    """All changes to versions and routes go through here, one at a time per channel.

    Versions are loaded before their change's turn, so that a rollback waits for no load, save for
    seconds for a standby that no server holds. A change that has begun is finished even if its
    caller is cancelled. What goes wrong is an `AdaptersError`, or what the database raised; what
    served before serves on.

    Changes of a route take an `epoch`: if it is given and the route has another by now, nothing
    changes and `StaleRouteError` is raised.
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
        me = me or Identity(secrets.token_hex(8), base_fingerprint=base.fingerprint)
        watcher = cluster_observer or ClusterObserver()
        self._ledger = Ledger(database, clock, observer)
        self._residency = Residency(
            host,
            store,
            config,
            observer,
            self._kept,
            sleep=sleep,
            monotonic=monotonic,
        )
        self._heard = Wakeups()
        self._membership = Membership(database, config.cluster, me)
        requests = LoadRequests(database, self._membership, config, watcher, self._heard, monotonic)
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
        self._under_way: set[asyncio.Task[Any]] = set()
        self._log = structlog.get_logger()

    async def start(self) -> None:
        """Clear leftovers, create the default channel, load what should be resident.

        A live version that cannot be loaded is replaced by standby or the base model, loudly;
        only a database or a disk that does not answer stops the start, and
        `ForeignBaseModelError`. Requests may come once it returns.
        """
        await self._clear_leftovers()
        await self.make_up()

    async def start_without_database(
        self, views: Sequence[RouteView], versions: Mapping[str, Version]
    ) -> None:
        """Serve these routes, last known, and load the versions that they name.

        `make_up` does the rest of the start once the database is there.
        """
        await self._clear_leftovers()
        self._ledger.replace_all(views)
        await self._recovery.load_known(versions)

    async def make_up(self) -> None:
        """Create the default channel, join the other servers, load what should be resident."""
        await self._ledger.ensure_channel(self._config.channel, self._config.tenant, shared=False)
        # Before anything is loaded: whoever changes a route from now on finds this server there.
        peers = alive(await self._membership.register(), self._config.cluster.dead_seconds)
        self._registered = True
        await self._recovery.run(alone=len(peers) < 2)  # noqa: PLR2004  (itself among them)
        await self._follower.poll()

    async def _clear_leftovers(self) -> None:
        leftovers = await asyncio.to_thread(self._store.clear_leftovers)
        if leftovers:
            self._log.warning("adapter_leftovers_removed", folders=leftovers)

    def follow(self, draining: Callable[[], bool]) -> None:
        """From now on look for what other servers change, and report this one, until `close`."""
        self._follower.start(draining)

    def route_signalled(self) -> None:
        """Somebody has changed a route, a version, or asks for a load: look at once."""
        self._follower.wake()

    def server_signalled(self) -> None:
        """A server has reported itself: whoever waits for its loads looks at once."""
        self._heard.wake()

    async def up_to_date(self) -> None:
        """Return once a request may begin; see `adapters.cluster.follower.Follower.up_to_date`."""
        await self._follower.up_to_date()

    @property
    def route_age_seconds(self) -> float:
        """How long ago the routes were last confirmed against the database."""
        return self._follower.age_seconds

    @property
    def is_fallback(self) -> bool:
        """Whether this server lacks versions that others hold: better ask those."""
        return self._follower.is_fallback

    @property
    def server_id(self) -> str:
        """What this server is known by among those on its database."""
        return self._membership.me.id

    async def servers(self) -> list[Peer]:
        """The servers on this database, the oldest first; dead ones for a while too."""
        return await self._membership.peers()

    async def read_routes(self) -> None:
        """Read versions and routes without touching an engine: for tools beside no server."""
        await self._ledger.refresh()

    async def close(self) -> None:
        """Finish the changes that have begun; give up drains."""
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._changes.close()
        await self._follower.close()
        await self._residency.close()
        if self._registered:
            self._registered = False
            await self._leave()

    def routes(self) -> Mapping[str, RouteView]:
        """Every channel's route as last committed; for the hot path."""
        return self._ledger.routes

    def resolve(
        self, model: str, *, tenant: str | None = None, user: str = "", in_trial: bool = True
    ) -> Resolved:
        """Who answers a request's `model` of a `user`; see `adapters.routing.route.resolve`."""
        routes, resident = self._ledger.routes, self._host.resident()
        return resolve(model, routes, resident, tenant=tenant, user=user, in_trial=in_trial)

    async def ensure_channel(self, name: str, tenant: str, *, shared: bool = False) -> None:
        """Create the channel, answered by `base`, if it is not there; set `shared`."""
        await self._finish(self._ledger.ensure_channel(name, tenant, shared=shared))

    async def add(  # noqa: PLR0913  (what is said of an adapter that comes in)
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
        """Vet the adapter in `folder`, publish it and register it as a candidate; not loaded.

        The same content again gives the version that is there if it is of the same run, else
        `DuplicateAdapterError`. Raises `VettingError` for what is not let in.
        """
        self._ledger.view(channel)
        parent = None if parent == BASE else parent
        await self._check_parent(channel, parent)
        candidate = Candidate(channel, actor, slot, run, parent, dict(figures or {}), guard)
        return await self._finish(self._admission.add(folder, candidate))

    async def load(self, version: str) -> None:
        """Make a version resident that may still answer; raises what `Residency.load` does."""
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
        """Make `version` live: loaded on every server first, then the route flips at once.

        So many of the users stay on the version before, and a new trial watches both. Raises
        `NotLoadedEverywhereError` where a server cannot load it, or not in time.
        """
        author = Author(actor, reason, guard)
        return await self._finish(self._changes.promote(version, author, holdback_share, epoch))

    async def set_shadow(
        self, version: str, share: float, *, actor: str, reason: str, epoch: int | None = None
    ) -> RouteView:
        """Let the version answer so many of its channel's requests, into the log only."""
        channel = (await self._ledger.version(version)).channel

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
        """Let the version answer so many of its channel's users; a new canary is a new trial."""
        channel = (await self._ledger.version(version)).channel

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
        """Let live answer everybody again: the canary is rolled back, or a watch is over."""
        author = Author(actor, reason)
        return await self._finish(self._changes.end_trial(channel, author, epoch))

    async def reject(
        self, version: str, *, actor: str, reason: str, guard: Guard = allow_any
    ) -> None:
        """End a candidate or shadow that is not good enough; unloaded once it is drained."""
        author = Author(actor, reason, guard)
        await self._finish(self._changes.end(version, State.REJECTED, author))

    async def retire(self, version: str, *, actor: str, reason: str) -> None:
        """End a standby: drain, unload, keep the files for the grace period.

        Returns when it is unloaded here, with `drain_deadline_seconds` at the latest.
        """
        row = await self._ledger.version(version)
        if row.state != State.RETIRED:
            author = Author(actor, reason)
            await self._finish(self._changes.end(version, State.RETIRED, author))
        await self._residency.drain(version)

    async def quarantine(self, version: str, *, actor: str, reason: str) -> bool:
        """Take a version that harms others out of service, for good; whether it still was in it.

        Standby, else the base model, stands in for a live one. Waits for no other server.
        """
        return await self._finish(self._changes.quarantine(version, Author(actor, reason)))

    async def rollback(
        self, channel: str, *, actor: str, reason: str, epoch: int | None = None
    ) -> Swap:
        """Undo the last promotion: standby, else the base model, is live in one transaction."""
        author = Author(actor, reason)
        return await self._finish(self._changes.rollback(channel, author, epoch))

    async def set_route(
        self, channel: str, wanted: RouteIn, *, actor: str, reason: str
    ) -> RouteView:
        """Replace the whole route in one transaction, after loading what it names."""
        author = Author(actor, reason)
        return await self._finish(self._changes.set_route(channel, lambda _: wanted, author, None))

    async def route_now(self, channel: str) -> RouteView:
        """The channel's route as the database has it; raises `UnknownChannelError`."""
        await self._ledger.refresh()
        return self._ledger.view(channel)

    async def version(self, version: str) -> Version:
        """One version; raises `UnknownVersionError`."""
        return await self._ledger.version(version)

    async def versions(self, channel: str) -> list[Version]:
        """The channel's versions, oldest first."""
        return await self._ledger.versions(channel)

    async def describe(self, channel: str) -> list[VersionOut]:
        """The channel's versions with lineage and residency, oldest first."""
        rows = await self._ledger.versions(channel)
        parents = {row.name: row.parent for row in rows}
        return [VersionOut.of(row, parents, self._host.resident()) for row in rows]

    async def events(self, version: str) -> list[VersionEvent]:
        """What happened to a version, first to last."""
        return await self._ledger.events(version)

    async def count_events(self, actor: str) -> int:
        """How many changes of versions' states the actor made, in all channels."""
        return await self._ledger.count_events(actor)

    async def lineage(self, version: str) -> list[str]:
        """The version and all its ancestors, nearest first, without `base`."""
        row = await self._ledger.version(version)
        return lineage(version, await self._ledger.parents(row.channel))

    async def set_figures(
        self, version: str, figures: Mapping[str, Any], *, guard: Guard = allow_any
    ) -> None:
        """Add `figures` to those of the version; of the same name, the new one stays."""
        await self._ledger.set_figures(version, figures, guard)

    async def purge(self, now: datetime) -> list[str]:
        """Remove the files of versions that ended `grace_days` ago; their names."""
        moment = now - timedelta(days=self._config.grace_days)
        held = await self._held_elsewhere()
        purged = []
        for row in await self._ledger.ended_before(moment):
            if row.name in held or self._used(row.name):
                continue
            if await asyncio.to_thread(self._store.exists, row):
                await asyncio.to_thread(self._store.remove, row)
                self._log.info("adapter_files_removed", version=row.name)
                purged.append(row.name)
        return purged

    def _kept(self) -> dict[str, str]:
        """The versions that no other may take the slot of, and their states."""
        spare = self._follower.spare
        return {name: state for name, state in self._ledger.wanted.items() if name not in spare}

    async def _held_elsewhere(self) -> set[str]:
        """What any server needs the files of, also one that may be dead."""
        peers = await self._membership.peers()
        return {name for peer in peers for name in peer.loaded | peer.leaving}

    def _used(self, version: str) -> bool:
        """A request that outlived its drain is still answered from the files."""
        return version in self._host.resident() or self._host.in_flight(version) > 0

    async def _leave(self) -> None:
        try:
            await self._membership.leave()
        except Exception as error:  # noqa: BLE001  (the others see it by its silence)
            self._log.warning("server_not_removed", error=type(error).__name__)

    async def _check_parent(self, channel: str, parent: str | None) -> None:
        if parent is not None and parent not in await self._ledger.parents(channel):
            raise UnknownVersionError

    async def _finish(self, work: Awaitable[_T]) -> _T:
        """Await `work`, which goes on to its end even if the caller is cancelled."""
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)
