"""Reads and writes of versions, events and routes, with a cache of the routes for requests.

Each change is one transaction: it writes the route, the states of the versions that it affects, and
an event for each. The cache is updated after the commit, so that requests see only durable changes.
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
from adapters.version_reader import VersionReader
from common.clock import Clock
from common.database import Database, Guard, allow_any

Check = Callable[[AsyncSession], Awaitable[None]]
"""Checks, in the transaction of a change, whether it is allowed; raises if not."""

Known = Callable[[Sequence[Version]], Version | None]
"""Returns, from the versions of the same content, the one to reuse, or None; raises if the content
must not be added again."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, and why. `guard` runs in the transaction and raises to prevent it."""

    actor: str
    reason: str
    guard: Guard = allow_any


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a channel's route. `moves` are state changes beyond those the routes imply."""

    before: RouteView
    after: RouteView
    moves: Mapping[str, State] = field(default_factory=dict)

    @property
    def states(self) -> dict[str, State]:
        """The new state of every version that the change affects."""
        return state_changes(self.before, self.after) | dict(self.moves)


class Ledger(VersionReader):
    """Reads and writes versions and routes. Locks per channel are the caller's (`Changes`)."""

    def __init__(self, database: Database, clock: Clock, observer: RegistryObserver) -> None:
        super().__init__(database)
        self._clock = clock
        self._observer = observer
        self._routes: Mapping[str, RouteView] = MappingProxyType({})
        self._last_id = 0
        self._turn = asyncio.Lock()
        self._written = self._reads = self._shown = 0

    @property
    def routes(self) -> Mapping[str, RouteView]:
        """Every channel's route as last committed: an immutable snapshot."""
        return self._routes

    @property
    def wanted(self) -> dict[str, str]:
        """The versions of all channels that may still answer, with their states."""
        return {
            name: view.roles.get(name, State.CANDIDATE).value
            for view in self._routes.values()
            for name in view.versions
        }

    async def refresh(self) -> None:
        """Read all routes from the database; does not wait for writers."""
        while True:
            self._reads += 1
            mine, written = self._reads, self._written
            async with self._database.read() as session:
                views = await repository.views(session)
            if written != self._written:
                continue  # the result may be older than a write that happened meanwhile
            if mine > self._shown:  # else a later read has finished first
                self._shown = mine
                self._publish(*views)
            return

    def replace_all(self, views: Sequence[RouteView]) -> None:
        """Replace the cached routes, until the database can be read."""
        self._publish(*views)

    def view(self, channel: str) -> RouteView:
        """Return the channel's cached route; raises `UnknownChannelError`."""
        if channel not in self._routes:
            raise UnknownChannelError
        return self._routes[channel]

    async def ensure_channel(self, name: str, tenant: str, *, shared: bool) -> None:
        """Create the channel, with `base` live, unless it exists; set `shared` in any case.

        Raises `ChannelTakenError` if it belongs to another tenant.
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
        """Insert a version with its first event, unless `known` returns an existing one.

        `known` receives the versions of the same content. Raises what `known` or the author's
        guard raises.
        """
        async with self._writing(version.channel) as session:
            await author.guard(session)
            found = known(await repository.with_digest(session, version.digest))
            if found is None:
                session.add(version)
                session.add(self._event(version, None, author, version.created_at))
        return found or version

    async def commit(self, change: Change, author: Author, check: Check | None = None) -> RouteView:
        """Apply `change` in one transaction, in which `check` runs; return the new route.

        Raises `StaleRouteError` if the route is no longer `change.before`, `TransitionError` if a
        state change is not allowed, and what `check` or the author's guard raises. Then nothing is
        changed.
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
        """Merge `figures` into the version's figures; raises what the guard raises."""
        async with self._database.write() as session:
            await guard(session)
            row = await repository.get_version(session, version)
            row.figures = {**row.figures, **figures}

    @asynccontextmanager
    async def _writing(self, channel: str) -> AsyncIterator[AsyncSession]:
        """Open a transaction on `channel`; after its commit, update the cache and signal others."""
        async with self._turn:
            async with self._database.write() as session:
                yield session
                await session.flush()
                view = await repository.view(session, channel)
                await signal(session, ROUTES)
            self._written += 1
            known = self._routes.get(channel)
            if (
                known is None or known.epoch <= view.epoch
            ):  # another server may have changed it since
                self._publish(view)

    async def _move(
        self, session: AsyncSession, name: str, state: State, author: Author, now: datetime
    ) -> None:
        version = await repository.get_version(session, name)
        before = version.state
        check_transition(name, State(before), state)
        version.state = state.value
        last = await repository.last_event_at(session, name)
        if last is not None and now <= last:  # another server's clock is ahead
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
        """Return an id that sorts events of the same time by creation, also across restarts."""
        self._last_id = max(self._last_id + 1, time.time_ns())
        return f"{self._last_id:016x}-{secrets.token_hex(4)}"

    def _publish(self, *views: RouteView) -> None:
        """Update the cache that requests read."""
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
