"""The registry's memory: versions, events and routes in the database, routes cached for requests.

Every change is one transaction: the route, the states that follow from it and an event for each.
The cache is replaced after the commit, so a request sees a change only once it is durable.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from adapters import repository
from adapters.errors import ChannelTakenError, StaleRouteError, UnknownChannelError
from adapters.models import Channel, Route, Version, VersionEvent
from adapters.names import BASE, check_channel
from adapters.ports import RegistryObserver
from adapters.routing.lifecycle import State, check_transition
from adapters.routing.route import RouteView, state_changes
from adapters.signals import ROUTES, signal
from common.clock import Clock
from common.database import Database, Guard, allow_any

Check = Callable[[AsyncSession], Awaitable[None]]
"""Looks, within the transaction of a change, whether it is allowed; raises where not."""

Known = Callable[[Sequence[Version]], Version | None]
"""Finds, among the versions of the same content, the one that is meant; raises where it may not
come in again."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes something, and why; `guard` is asked whether they still may."""

    actor: str
    reason: str
    guard: Guard = allow_any


@dataclass(frozen=True, slots=True)
class Change:
    """From one route of a channel to the next; `moves` are states beside those that follow."""

    before: RouteView
    after: RouteView
    moves: Mapping[str, State] = field(default_factory=dict)

    @property
    def states(self) -> dict[str, State]:
        """The new state of every version that the change touches."""
        return state_changes(self.before, self.after) | dict(self.moves)


class Ledger:
    """Reads and changes what is registered; holds no locks (the registry does)."""

    def __init__(self, database: Database, clock: Clock, observer: RegistryObserver) -> None:
        self._database = database
        self._clock = clock
        self._observer = observer
        self._routes: Mapping[str, RouteView] = MappingProxyType({})
        self._last_id = 0
        self._turn = asyncio.Lock()
        self._written = self._reads = self._shown = 0

    @property
    def routes(self) -> Mapping[str, RouteView]:
        """Every channel's route as last committed: a snapshot that does not change."""
        return self._routes

    @property
    def wanted(self) -> dict[str, str]:
        """All versions of all channels that may still answer, and their states."""
        return {
            name: view.roles.get(name, State.CANDIDATE).value
            for view in self._routes.values()
            for name in view.versions
        }

    async def refresh(self) -> None:
        """Read all routes again; waits for nobody who writes."""
        while True:
            self._reads += 1
            mine, written = self._reads, self._written
            async with self._database.read() as session:
                views = await repository.views(session)
            if written != self._written:
                continue  # what was read may be older than what was written meanwhile
            if mine > self._shown:  # else somebody who began later was faster
                self._shown = mine
                self._publish(*views)
            return

    def replace_all(self, views: Sequence[RouteView]) -> None:
        """Serve these routes until the database can be read."""
        self._publish(*views)

    def view(self, channel: str) -> RouteView:
        """The channel's route; raises `UnknownChannelError`."""
        if channel not in self._routes:
            raise UnknownChannelError
        return self._routes[channel]

    async def version(self, name: str) -> Version:
        """One version; raises `UnknownVersionError`."""
        async with self._database.read() as session:
            return await repository.get_version(session, name)

    async def versions(self, channel: str) -> list[Version]:
        """The channel's versions, oldest first; raises `UnknownChannelError`."""
        async with self._database.read() as session:
            await repository.get_route(session, channel)
            return list(await repository.versions(session, channel))

    async def ended_before(self, moment: datetime) -> Sequence[Version]:
        """The versions that reached a state that nothing follows, at `moment` or before."""
        async with self._database.read() as session:
            return await repository.ended_before(session, moment)

    async def parents(self, channel: str) -> dict[str, str | None]:
        """What each version of the channel was trained from."""
        async with self._database.read() as session:
            return await repository.parents(session, channel)

    async def with_digest(self, digest: str) -> Sequence[Version]:
        """The versions of that content, oldest first."""
        async with self._database.read() as session:
            return await repository.with_digest(session, digest)

    async def names(self) -> set[str]:
        """Every name that a version has or had."""
        async with self._database.read() as session:
            return await repository.names(session)

    async def events(self, version: str) -> list[VersionEvent]:
        """What happened to a version, first to last; raises `UnknownVersionError`."""
        async with self._database.read() as session:
            await repository.get_version(session, version)
            return list(await repository.events(session, version))

    async def count_events(self, actor: str) -> int:
        """How many changes of versions' states the actor made."""
        async with self._database.read() as session:
            return await repository.count_events(session, actor)

    async def ensure_channel(self, name: str, tenant: str, *, shared: bool) -> None:
        """Create the channel, answered by `base`, if it is not there.

        Raises `ChannelTakenError` when it is another tenant's.
        """
        check_channel(name)
        now = self._clock()
        async with self._writing(name) as session:
            row = await session.get(Channel, name)
            if row is None:
                session.add(Channel(name=name, tenant=tenant, shared=shared, created_at=now))
                await session.flush()
                session.add(_new_route(name, now))
            elif row.tenant != tenant:
                raise ChannelTakenError
            else:
                row.shared = shared

    async def register(self, version: Version, author: Author, known: Known) -> Version:
        """Add a new version with its first event; or the one that `known` finds is there already.

        Raises what `known` raises, which is given the versions of the same content, and what the
        author's guard raises.
        """
        async with self._writing(version.channel) as session:
            await author.guard(session)
            found = known(await repository.with_digest(session, version.digest))
            if found is None:
                session.add(version)
                session.add(self._event(version, None, author, version.created_at))
        return found or version

    async def commit(self, change: Change, author: Author, check: Check | None = None) -> RouteView:
        """Make `change` in one transaction, in which `check` finds it allowed; the new route.

        Raises `StaleRouteError` when the route is no longer the one before, `TransitionError` when
        a version cannot follow, and what `check` or the author's guard raises. Then nothing
        changes.
        """
        now = self._clock()
        channel = change.after.channel
        async with self._writing(channel) as session:
            await author.guard(session)
            route = await repository.get_route(session, channel)
            if route.epoch != change.before.epoch:
                raise StaleRouteError(channel)
            if check is not None:
                await check(session)
            _set_route(route, change.after, author, now)
            for name, state in change.states.items():
                await self._move(session, name, state, author, now)
        return self.view(channel)

    async def set_figures(self, version: str, figures: Mapping[str, Any], guard: Guard) -> None:
        """Add `figures` to what a list shows of the version; raises what the guard raises."""
        async with self._database.write() as session:
            await guard(session)
            row = await repository.get_version(session, version)
            row.figures = {**row.figures, **figures}

    @asynccontextmanager
    async def _writing(self, channel: str) -> AsyncIterator[AsyncSession]:
        """A transaction on `channel`; once it is durable, requests see its result."""
        async with self._turn:
            async with self._database.write() as session:
                yield session
                await session.flush()
                view = await repository.view(session, channel)
                await signal(session, ROUTES)
            self._written += 1
            known = self._routes.get(channel)
            if known is None or known.epoch <= view.epoch:  # another server may have gone on
                self._publish(view)

    async def _move(
        self, session: AsyncSession, name: str, state: State, author: Author, now: datetime
    ) -> None:
        version = await repository.get_version(session, name)
        before = version.state
        check_transition(name, State(before), state)
        version.state = state.value
        last = await repository.last_event_at(session, name)
        if last is not None and now <= last:  # by another server's clock, which is ahead
            now = last + timedelta(microseconds=1)
        session.add(self._event(version, before, author, now))

    def _event(
        self, version: Version, before: str | None, author: Author, now: datetime
    ) -> VersionEvent:
        return VersionEvent(
            id=self._event_id(),
            version=version.name,
            channel=version.channel,
            at=now,
            from_state=before,
            to_state=version.state,
            actor=author.actor,
            reason=author.reason,
        )

    def _event_id(self) -> str:
        """Sorts events of one moment in the order in which they were made, also after a restart."""
        self._last_id = max(self._last_id + 1, time.time_ns())
        return f"{self._last_id:016x}-{secrets.token_hex(4)}"

    def _publish(self, *views: RouteView) -> None:
        """Show `views` to the requests."""
        changed = [view for view in views if _differs(self._routes.get(view.channel), view)]
        self._routes = MappingProxyType({**self._routes, **{view.channel: view for view in views}})
        for view in changed:
            self._observer.route_changed(view.channel, view.epoch, view.live)


def _differs(old: RouteView | None, new: RouteView) -> bool:
    return old is None or old.epoch != new.epoch


def _new_route(channel: str, now: datetime) -> Route:
    return Route(
        channel=channel, live=BASE, changed_at=now, changed_by="system", reason="new channel"
    )


def _set_route(route: Route, view: RouteView, author: Author, now: datetime) -> None:
    if route.epoch == view.epoch:
        return
    route.live, route.standby = view.live, view.standby
    route.canary, route.canary_share = view.canary, view.canary_share
    route.holdback_share, route.trial = view.holdback_share, view.trial
    route.shadow, route.shadow_share = view.shadow, view.shadow_share
    route.epoch = view.epoch
    route.changed_at, route.changed_by, route.reason = now, author.actor, author.reason
