"""Route changes: serialised per channel, and only to versions that all ready servers have loaded.

Several servers may change the same route. A change starts from the route in the database, and its
transaction fails if the route has changed in the meantime (optimistic locking by `epoch`); then the
change is retried from the new route.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog

from adapters.cluster.load_requests import LoadRequests
from adapters.cluster.membership import Membership
from adapters.errors import (
    AdaptersError,
    NotLoadedEverywhereError,
    StaleRouteError,
    TransitionError,
    UnknownVersionError,
)
from adapters.ledger import Author, Change, Ledger
from adapters.names import BASE
from adapters.next_route import changed_route, new_trial
from adapters.ports import RegistryObserver
from adapters.residency import Residency
from adapters.routing.lifecycle import ADDRESSABLE, State, check_transition
from adapters.routing.route import (
    RouteView,
    watch_of,
    with_live,
    with_rollback,
    without,
    without_trial,
)
from adapters.schemas import RouteIn
from common.clock import Monotonic

_T = TypeVar("_T")

STANDBY_SECONDS = 3.0
"""Seconds a rollback waits for standby to load before falling back to the base model."""

ATTEMPTS = 5
"""Attempts before a route change that keeps losing to concurrent changes gives up."""

_UNDECIDED = frozenset({State.CANDIDATE, State.SHADOW})
"""States that end in `rejected`; a version that has answered users is rolled back or retired."""

Wanted = Callable[[RouteView], RouteIn]
"""Returns the requested route, given the current one."""


@dataclass(frozen=True, slots=True)
class Swap:
    """A change of the live version, `seconds` after the start of its load."""

    version: str
    previous: str
    seconds: float
    epoch: int


class Changes:
    """Changes routes.

    Methods that take an `epoch` raise `StaleRouteError` if it is not None and not the route's.
    """

    def __init__(
        self,
        ledger: Ledger,
        residency: Residency,
        membership: Membership,
        requests: LoadRequests,
        observer: RegistryObserver,
        *,
        dead_seconds: float,
        monotonic: Monotonic,
    ) -> None:
        self._ledger = ledger
        self._residency = residency
        self._membership = membership
        self._requests = requests
        self._observer = observer
        self._dead_seconds = dead_seconds
        self._monotonic = monotonic
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._late: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()

    async def close(self) -> None:
        """Cancel the loads that no change waits for any more: the engine is about to stop."""
        late = list(self._late)
        for load in late:
            load.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def load(self, version: str) -> None:
        """Load a version that may still answer on this server."""
        row = await self._ledger.version(version)
        if State(row.state) not in ADDRESSABLE:
            raise TransitionError(version, row.state, "loaded", "choose a version that may answer")
        await self._residency.load(row)
        self.release()  # the version may have ended meanwhile

    async def promote(
        self, version: str, author: Author, holdback_share: float, epoch: int | None
    ) -> Swap:
        """Make `version` live once every ready server has loaded it."""
        row = await self._ledger.version(version)
        check_transition(version, State(row.state), State.LIVE)
        began = self._monotonic()

        async def make_live(before: RouteView) -> Swap:
            found = await self._ledger.version(version)
            check_transition(version, State(found.state), State.LIVE)
            await self._residency.load(found)
            after = _live(before, version, holdback_share)
            return await self._swap(Change(before, after), author, began)

        return await self._prepared(row.channel, {version}, make_live, epoch)

    async def set_route(
        self, channel: str, wanted: Wanted, author: Author, epoch: int | None
    ) -> RouteView:
        """Replace the whole route once every ready server has loaded its versions."""
        await self._ledger.refresh()
        began, change = self._monotonic(), self._next_route(self._ledger.view(channel), wanted)
        new = change.after.roles.keys() - change.before.roles.keys()

        async def replace(before: RouteView) -> RouteView:
            change = self._next_route(before, wanted)
            if change.after == change.before:
                return change.before
            for name in change.after.roles:
                await self.load(name)
            if change.after.live != change.before.live:
                await self._swap(change, author, began)
            else:
                await self._commit(change, author)
            return self._ledger.view(channel)

        if change.after != change.before:
            await self._load_kept(change)
        return await self._prepared(channel, new, replace, epoch)

    async def rollback(self, channel: str, author: Author, epoch: int | None) -> Swap:
        """Roll back to standby, or to the base model if it cannot load in `STANDBY_SECONDS`."""
        began, undone, until = self._monotonic(), "", 0.0

        async def put_back(before: RouteView) -> Swap:
            nonlocal undone, until
            undone, until = undone or before.live, until or self._monotonic() + STANDBY_SECONDS
            if undone != before.live:  # it was already rolled back: do not roll back twice
                raise StaleRouteError(channel)
            after = with_rollback(before)
            if not await self._can_serve(after.live, until):
                self._observer.fell_back(channel, after.live, BASE)
                after = with_rollback(before, skip_standby=True)
            change = Change(before, after)
            return self._swapped(change, await self._ledger.commit(change, author), began)

        return await self.alone(channel, put_back, epoch)

    async def end_trial(self, channel: str, author: Author, epoch: int | None) -> RouteView:
        """End the channel's trial: live answers all users."""

        async def end(before: RouteView) -> RouteView:
            if before.trial:
                await self._commit(Change(before, without_trial(before)), author)
            return self._ledger.view(channel)

        return await self.alone(channel, end, epoch)

    async def end(
        self, version: str, state: State, author: Author, epoch: int | None = None
    ) -> None:
        """Take a version out of the route and move it to the final `state`."""
        row = await self._ledger.version(version)

        async def take_out(before: RouteView) -> None:
            found = await self._ledger.version(version)
            check_transition(version, State(found.state), state)
            change = Change(before, without(before, {version}), {version: state})
            await self._commit(change, author)

        await self.alone(row.channel, take_out, epoch)

    async def quarantine(self, version: str, author: Author) -> bool:
        """Take a version that must not be loaded again out of the route, whatever its role.

        Does not wait for other servers: standby or the base model replaces live at once. Returns
        false if the version had ended already.
        """
        row = await self._ledger.version(version)

        async def take_out(before: RouteView) -> bool:
            state = State((await self._ledger.version(version)).state)
            if state not in ADDRESSABLE:
                return False
            moves = {version: State.REJECTED} if state in _UNDECIDED else {}
            change = Change(before, without(before, {version}), moves)
            after = await self._ledger.commit(change, author)
            if before.live == version:
                self._observer.fell_back(before.channel, version, after.live)
            return True

        return await self.alone(row.channel, take_out, None)

    def release(self) -> None:
        """Drain, in the background, the loaded versions that may no longer answer."""
        for version in self._residency.resident() - self._ledger.wanted.keys():
            self._residency.drain_later(version)

    async def alone(
        self,
        channel: str,
        work: Callable[[RouteView], Awaitable[_T]],
        epoch: int | None = None,
    ) -> _T:
        """Run `work` on the channel's current route, under its lock; repeat if the route changed.

        `work` is run up to `ATTEMPTS` times.
        """
        self._ledger.view(channel)
        async with self._locks[channel]:
            for attempt in range(1, ATTEMPTS + 1):
                await self._ledger.refresh()
                before = self._ledger.view(channel)
                if epoch not in (None, before.epoch):
                    raise StaleRouteError(channel)
                try:
                    return await work(before)
                except StaleRouteError:
                    if attempt == ATTEMPTS:
                        raise
                except AdaptersError:
                    raise
                except Exception:
                    # The commit may have succeeded although it raised: read the route again.
                    await self._refresh()
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _load_kept(self, change: Change) -> None:
        """Load versions that the route keeps and this server lacks, before taking the lock."""
        for name in change.after.roles.keys() & change.before.roles.keys():
            with suppress(TransitionError):  # ended meanwhile: the change starts from another route
                await self.load(name)

    async def _prepared(
        self,
        channel: str,
        versions: Collection[str],
        work: Callable[[RouteView], Awaitable[_T]],
        epoch: int | None,
    ) -> _T:
        """Run `work` once all ready servers have loaded `versions`.

        Wait and run it again if another server has become ready without them in between.
        """
        for version in versions:
            await self.load(version)
        async with self._requests.requesting(versions) as order:
            while True:
                await self._requests.wait_until_loaded(order)
                try:
                    return await self.alone(channel, work, epoch)
                except NotLoadedEverywhereError:
                    if self._monotonic() >= order.deadline:
                        raise

    async def _can_serve(self, version: str, until: float) -> bool:
        """Whether a version can be live at once: loaded here, on another server, or by `until`."""
        if version == BASE or version in self._residency.loaded():
            return True
        peers = await self._membership.peers()
        me, dead = self._membership.me.id, self._dead_seconds
        if any(one.age_seconds < dead and version in one.loaded for one in peers if one.id != me):
            return True
        return await self._is_loaded(version, until)

    async def _is_loaded(self, version: str, until: float) -> bool:
        """Load `version`; return whether it is loaded by `until`.

        Failures are logged, not raised: a rollback must not fail, and the base model can answer.
        """
        load = asyncio.create_task(self.load(version), name=f"load {version} for a rollback")
        await asyncio.wait({load}, timeout=max(0.0, until - self._monotonic()))
        try:
            if load.done():
                await load
                return True
            error = TimeoutError.__name__
            self._finish_late(load, version)
        except AdaptersError as failure:
            error = type(failure).__name__
        self._log.error("rollback_to_base", version=version, error=error)
        return False

    def _finish_late(self, load: asyncio.Task[None], version: str) -> None:
        """Let a late load finish: cancelling it could leave it half done in the engine."""

        def ended(load: asyncio.Task[None]) -> None:
            self._late.discard(load)
            if not load.cancelled() and (error := load.exception()) is not None:
                kind = type(error).__name__
                self._log.warning("late_load_failed", version=version, error=kind)

        self._late.add(load)
        load.add_done_callback(ended)

    async def _swap(self, change: Change, author: Author, began: float) -> Swap:
        return self._swapped(change, await self._commit(change, author), began)

    def _swapped(self, change: Change, view: RouteView, began: float) -> Swap:
        swap = Swap(view.live, change.before.live, self._monotonic() - began, view.epoch)
        self._observer.swapped(view.channel, swap.seconds)
        self._log.info("route_swapped", channel=view.channel, live=view.live, epoch=view.epoch)
        self.release()
        return swap

    async def _commit(self, change: Change, author: Author) -> RouteView:
        """Commit if every ready server has the route's new versions; unload those not needed."""
        new = change.after.roles.keys() - change.before.roles.keys()
        check = partial(self._requests.check, versions=new)
        view = await self._ledger.commit(change, author, check)
        self.release()
        return view

    def _next_route(self, before: RouteView, wanted: Wanted) -> Change:
        after = changed_route(before, wanted(before))
        if not after.roles.keys() <= before.versions:
            raise UnknownVersionError
        return Change(before, after)

    async def _refresh(self) -> None:
        try:
            await self._ledger.refresh()
        except Exception as error:  # noqa: BLE001 - the first error is raised; the cache stays
            self._log.error("routes_not_refreshed", error=type(error).__name__)


def _live(before: RouteView, version: str, holdback_share: float) -> RouteView:
    """Return the route with `version` live; users keep the buckets of its canary."""
    trial = watch_of(before.trial if before.canary == version else new_trial())
    return with_live(
        before,
        version,
        holdback_share=holdback_share,
        trial=trial if holdback_share else "",
    )
