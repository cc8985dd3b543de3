"""The registry: adapters come in, become live, are rolled back and retired."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import structlog

from adapters.admission import Admission, Candidate
from adapters.artifacts import ArtifactStore
from adapters.base_model import BaseModelInfo
from adapters.config import AdaptersConfig
from adapters.errors import AdaptersError, TransitionError, UnknownVersionError
from adapters.ledger import Author, Change, Ledger
from adapters.lifecycle import ADDRESSABLE, State, check_transition, lineage
from adapters.models import Version, VersionEvent
from adapters.names import BASE
from adapters.ports import AdapterHost, Clock, Database, RegistryObserver
from adapters.recovery import Recovery
from adapters.residency import Monotonic, Residency, Sleep
from adapters.route import (
    Resolved,
    RouteView,
    resolve,
    watch_of,
    with_live,
    with_rollback,
    without,
    without_trial,
)
from adapters.route_change import changed_route, new_trial
from adapters.schemas import RouteIn, VersionOut

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Swap:
    """A change of who is live. `seconds` from the begin of the load to the active route."""

    version: str
    previous: str
    seconds: float
    epoch: int


class Registry:
    """All changes to versions and routes go through here, one at a time per channel.

    Versions are loaded before their change's turn, so that a rollback never waits for a load. A
    change that has begun is finished even if its caller is cancelled. What goes wrong is an
    `AdaptersError`, or what the database raised; what served before serves on.
    """

    def __init__(  # noqa: PLR0913
        self,
        database: Database,
        host: AdapterHost,
        store: ArtifactStore,
        clock: Clock,
        config: AdaptersConfig,
        base: BaseModelInfo,
        observer: RegistryObserver,
        *,
        sleep: Sleep = asyncio.sleep,
        monotonic: Monotonic = time.perf_counter,
    ) -> None:
        self._ledger = Ledger(database, clock, observer)
        self._residency = Residency(
            host,
            store,
            config,
            observer,
            lambda: self._ledger.wanted,
            sleep=sleep,
            monotonic=monotonic,
        )
        self._admission = Admission(self._ledger, store, clock, config, base)
        self._recovery = Recovery(self._ledger, self._residency, base, observer)
        self._host = host
        self._store = store
        self._config = config
        self._observer = observer
        self._monotonic = monotonic
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._changes: set[asyncio.Task[Any]] = set()
        self._log = structlog.get_logger()

    async def start(self) -> None:
        """Clear leftovers, create the default channel, load what should be resident.

        A live version that cannot be loaded is replaced by standby or the base model, loudly;
        only a database or a disk that does not answer stops the start.
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
        self._ledger.assume(views)
        await self._recovery.load_known(versions)

    async def make_up(self) -> None:
        """Create the default channel, and load what should be resident."""
        await self._ledger.ensure_channel(self._config.channel, self._config.tenant, shared=False)
        await self._recovery.run()

    async def _clear_leftovers(self) -> None:
        leftovers = await asyncio.to_thread(self._store.clear_leftovers)
        if leftovers:
            self._log.warning("adapter_leftovers_removed", folders=leftovers)

    async def read_routes(self) -> None:
        """Read versions and routes without touching an engine: for tools beside no server."""
        await self._ledger.refresh()

    async def close(self) -> None:
        """Finish the changes that have begun; give up drains."""
        await asyncio.gather(*self._changes, return_exceptions=True)
        await self._residency.close()

    def routes(self) -> Mapping[str, RouteView]:
        """Every channel's route as last committed; for the hot path."""
        return self._ledger.routes

    def resolve(self, model: str, *, tenant: str | None = None, user: str = "") -> Resolved:
        """Who answers a request's `model` of a `user`; see `adapters.route.resolve`."""
        routes, resident = self._ledger.routes, self._host.resident()
        return resolve(model, routes, resident, tenant=tenant, user=user)

    async def ensure_channel(self, name: str, tenant: str, *, shared: bool = False) -> None:
        """Create the channel, answered by `base`, if it is not there; set `shared`."""
        await self._finish(self._ledger.ensure_channel(name, tenant, shared=shared))

    async def add(
        self,
        folder: Path,
        *,
        channel: str,
        actor: str,
        slot: str | None = None,
        run: str | None = None,
        parent: str | None = None,
        figures: Mapping[str, Any] | None = None,
    ) -> Version:
        """Vet the adapter in `folder`, publish it and register it as a candidate; not loaded.

        The same content again gives the version that is there if it is of the same run, else
        `DuplicateAdapterError`. Raises `VettingError` for what is not let in.
        """
        self._ledger.view(channel)
        parent = None if parent == BASE else parent
        await self._check_parent(channel, parent)
        candidate = Candidate(channel, actor, slot, run, parent, dict(figures or {}))
        return await self._finish(self._admission.add(folder, candidate))

    async def load(self, version: str) -> None:
        """Make a version resident that may still answer; raises what `Residency.load` does."""
        await self._finish(self._load(version))

    async def promote(
        self, version: str, *, actor: str, reason: str, holdback_share: float = 0.0
    ) -> Swap:
        """Make `version` live: loaded first, then the route flips in one transaction.

        So many of the users stay on the version before, and a new trial watches both.
        """
        return await self._finish(self._promote(version, Author(actor, reason), holdback_share))

    async def set_shadow(self, version: str, share: float, *, actor: str, reason: str) -> RouteView:
        """Let the version answer so many of its channel's requests, into the log only."""
        channel = (await self._ledger.version(version)).channel
        view = self._ledger.view(channel)
        wanted = RouteIn(
            canary=view.canary,
            canary_share=view.canary_share,
            shadow=version,
            shadow_share=share,
        )
        return await self.set_route(channel, wanted, actor=actor, reason=reason)

    async def set_canary(self, version: str, share: float, *, actor: str, reason: str) -> RouteView:
        """Let the version answer so many of its channel's users; a new canary is a new trial."""
        channel = (await self._ledger.version(version)).channel
        view = self._ledger.view(channel)
        wanted = RouteIn(
            canary=version,
            canary_share=share,
            shadow=None if view.shadow == version else view.shadow,
            shadow_share=0.0 if view.shadow == version else view.shadow_share,
        )
        return await self.set_route(channel, wanted, actor=actor, reason=reason)

    async def end_trial(self, channel: str, *, actor: str, reason: str) -> RouteView:
        """Let live answer everybody again: the canary is rolled back, or a watch is over."""
        author = Author(actor, reason)
        return await self._change(channel, lambda: self._end_trial(channel, author))

    async def reject(self, version: str, *, actor: str, reason: str) -> None:
        """End a candidate or shadow that is not good enough; unloaded once it is drained."""
        row = await self._ledger.version(version)
        author = Author(actor, reason)
        await self._change(row.channel, lambda: self._end(version, State.REJECTED, author))

    async def retire(self, version: str, *, actor: str, reason: str) -> None:
        """End a standby: drain, unload, keep the files for the grace period.

        Returns when it is unloaded, with `drain_deadline_seconds` at the latest.
        """
        row = await self._ledger.version(version)
        author = Author(actor, reason)
        if row.state != State.RETIRED:
            await self._change(row.channel, lambda: self._end(version, State.RETIRED, author))
        await self._residency.drain(version)

    async def rollback(self, channel: str, *, actor: str, reason: str) -> Swap:
        """Undo the last promotion: standby, else the base model, is live in one transaction."""
        author = Author(actor, reason)
        return await self._change(channel, lambda: self._rollback(channel, author))

    async def set_route(
        self, channel: str, wanted: RouteIn, *, actor: str, reason: str
    ) -> RouteView:
        """Replace the whole route in one transaction, after loading what it names."""
        return await self._finish(self._set_route(channel, wanted, Author(actor, reason)))

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

    async def lineage(self, version: str) -> list[str]:
        """The version and all its ancestors, nearest first, without `base`."""
        row = await self._ledger.version(version)
        return lineage(version, await self._ledger.parents(row.channel))

    async def set_figures(self, version: str, figures: Mapping[str, Any]) -> None:
        """Add `figures` to those of the version; of the same name, the new one stays."""
        await self._ledger.set_figures(version, figures)

    async def purge(self, now: datetime) -> list[str]:
        """Remove the files of versions that ended `grace_days` ago; their names."""
        moment = now - timedelta(days=self._config.grace_days)
        purged = []
        for row in await self._ledger.ended_before(moment):
            if not self._used(row.name) and self._store.exists(row):
                await asyncio.to_thread(self._store.remove, row)
                self._log.info("adapter_files_removed", version=row.name)
                purged.append(row.name)
        return purged

    def _used(self, version: str) -> bool:
        """A request that outlived its drain is still answered from the files."""
        return version in self._host.resident() or self._host.in_flight(version) > 0

    async def _load(self, version: str) -> None:
        row = await self._ledger.version(version)
        if State(row.state) not in ADDRESSABLE:
            raise TransitionError(version, row.state, "loaded", "choose a version that may answer")
        await self._residency.load(row)
        self._let_go()  # it may have ended meanwhile

    async def _promote(self, version: str, author: Author, holdback_share: float) -> Swap:
        row = await self._ledger.version(version)
        check_transition(version, State(row.state), State.LIVE)
        began = self._monotonic()
        await self._load(version)
        return await self._alone(
            row.channel, lambda: self._make_live(version, author, began, holdback_share)
        )

    async def _make_live(
        self, version: str, author: Author, began: float, holdback_share: float
    ) -> Swap:
        row = await self._ledger.version(version)
        check_transition(version, State(row.state), State.LIVE)
        before = self._ledger.view(row.channel)
        await self._residency.load(row)
        trial = watch_of(before.trial if before.canary == version else new_trial())
        after = with_live(
            before,
            version,
            holdback_share=holdback_share,
            trial=trial if holdback_share else "",
        )
        return await self._swap(Change(before, after), author, began)

    async def _end_trial(self, channel: str, author: Author) -> RouteView:
        before = self._ledger.view(channel)
        if before.trial:
            await self._ledger.commit(Change(before, without_trial(before)), author)
            self._let_go()
        return self._ledger.view(channel)

    async def _rollback(self, channel: str, author: Author) -> Swap:
        before, began = self._ledger.view(channel), self._monotonic()
        after = with_rollback(before)
        try:
            if after.live != BASE:
                await self._load(after.live)
        except AdaptersError as error:
            # Undo must not fail: the base model needs nothing.
            self._log.error("rollback_to_base", channel=channel, error=type(error).__name__)
            self._observer.fell_back(channel, after.live, BASE)
            after = with_rollback(before, skip_standby=True)
        return await self._swap(Change(before, after), author, began)

    async def _swap(self, change: Change, author: Author, began: float) -> Swap:
        view = await self._ledger.commit(change, author)
        swap = Swap(view.live, change.before.live, self._monotonic() - began, view.epoch)
        self._observer.swapped(view.channel, swap.seconds)
        self._log.info("route_swapped", channel=view.channel, live=view.live, epoch=view.epoch)
        self._let_go()
        return swap

    async def _end(self, version: str, state: State, author: Author) -> None:
        row = await self._ledger.version(version)
        check_transition(version, State(row.state), state)
        before = self._ledger.view(row.channel)
        change = Change(before, without(before, {version}), {version: state})
        await self._ledger.commit(change, author)
        self._let_go()

    async def _set_route(self, channel: str, wanted: RouteIn, author: Author) -> RouteView:
        began, change = self._monotonic(), self._next_route(channel, wanted)
        for name in change.after.roles.keys() - change.before.roles.keys():
            await self._load(name)
        return await self._alone(channel, lambda: self._replace(channel, wanted, author, began))

    async def _replace(
        self, channel: str, wanted: RouteIn, author: Author, began: float
    ) -> RouteView:
        change = self._next_route(channel, wanted)
        if change.after == change.before:
            return change.before
        for name in change.after.roles:
            await self._load(name)
        if change.after.live != change.before.live:
            await self._swap(change, author, began)
        else:
            await self._ledger.commit(change, author)
            self._let_go()
        return self._ledger.view(channel)

    def _next_route(self, channel: str, wanted: RouteIn) -> Change:
        before = self._ledger.view(channel)
        after = changed_route(before, wanted)
        if not after.roles.keys() <= before.versions:
            raise UnknownVersionError
        return Change(before, after)

    def _let_go(self) -> None:
        """Drain in the background what no route and no candidate needs."""
        for version in self._host.resident() - self._ledger.wanted.keys():
            self._residency.drain_later(version)

    async def _check_parent(self, channel: str, parent: str | None) -> None:
        if parent is not None and parent not in await self._ledger.parents(channel):
            raise UnknownVersionError

    async def _change(self, channel: str, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do `work` alone on its channel."""
        self._ledger.view(channel)
        return await self._finish(self._alone(channel, work))

    async def _alone(self, channel: str, work: Callable[[], Awaitable[_T]]) -> _T:
        async with self._locks[channel]:
            try:
                return await work()
            except AdaptersError:
                raise
            except Exception:
                # A commit that failed may have been made: ask what holds before serving on.
                await self._refresh()
                raise

    async def _refresh(self) -> None:
        try:
            await self._ledger.refresh()
        except Exception as error:  # noqa: BLE001 - the first error tells; routes stay as cached
            self._log.error("routes_not_refreshed", error=type(error).__name__)

    async def _finish(self, work: Awaitable[_T]) -> _T:
        """Await `work`, which goes on to its end even if the caller is cancelled."""
        task = asyncio.ensure_future(work)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)
