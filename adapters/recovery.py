"""Startup recovery: mark incompatible versions, take damaged ones out of routes, load the rest.

Failures are logged as errors but do not stop the start: chat continues with the versions that are
left. If other servers are running, files that are damaged here do not change the routes, which all
servers share.
"""

from collections.abc import Mapping
from typing import Literal

import structlog

from adapters.errors import (
    AdaptersError,
    CorruptArtifactError,
    StaleRouteError,
    TransitionError,
)
from adapters.ledger import Author, Change, Ledger
from adapters.models import Version
from adapters.names import BASE
from adapters.ports import RegistryObserver
from adapters.residency import Residency
from adapters.routing.lifecycle import ADDRESSABLE, State
from adapters.routing.route import RouteView, serving, without
from adapters.vetting.base_model import BaseModelInfo

_Role = Literal["live", "standby", "canary", "shadow"]
_ROLES: tuple[_Role, ...] = ("live", "standby", "canary", "shadow")
"""In loading order: the first ones get the engine's slots."""
_ATTEMPTS = 4
"""Attempts to update a channel's versions that another server starting at the same time updates."""


class Recovery:
    """Loads the versions of the routes when the server starts."""

    def __init__(
        self,
        ledger: Ledger,
        residency: Residency,
        base: BaseModelInfo,
        observer: RegistryObserver,
    ) -> None:
        self._ledger = ledger
        self._residency = residency
        self._base = base
        self._observer = observer
        self._log = structlog.get_logger()

    async def run(self, *, alone: bool) -> None:
        """Compare base models, then load the versions of the routes, live ones first.

        `alone` is whether no other server is running; then damaged versions are taken out of the
        routes. No running server serves another base model, because registration checks that.
        """
        await self._ledger.refresh()
        channels = list(self._ledger.routes)
        for channel in channels:
            await self._match_base_at_once(channel)
        for role in _ROLES:
            for channel in channels:
                await self._load_role(channel, role, alone=alone)
        for channel in channels:
            self._report_fallback(self._ledger.view(channel))

    async def load_known(self, versions: Mapping[str, Version]) -> None:
        """Load the versions of the cached routes, given their rows: the database is unavailable.

        A version that cannot be loaded keeps its role; a fallback answers instead.
        """
        views = list(self._ledger.routes.values())
        for role in _ROLES:
            for view in views:
                version = versions.get(getattr(view, role) or BASE)
                if version is not None and version.base_fingerprint == self._base.fingerprint:
                    await self._try_to_load(version, role)
        for view in views:
            self._report_fallback(view)

    async def _try_to_load(self, version: Version, role: _Role) -> None:
        try:
            await self._residency.load(version)
        except AdaptersError as error:
            self._not_resident(version.name, role, type(error).__name__)

    async def _match_base_at_once(self, channel: str) -> None:
        """Run `_match_base`; repeat it if another server changes the route at the same time."""
        for _ in range(_ATTEMPTS):
            try:
                await self._match_base(channel)
            except (StaleRouteError, TransitionError):
                await self._ledger.refresh()
            else:
                return
        await self._match_base(channel)

    async def _match_base(self, channel: str) -> None:
        """Mark versions of another base model incompatible; make those of this one candidates."""
        versions = await self._ledger.versions(channel)
        fits = {row.name for row in versions if row.base_fingerprint == self._base.fingerprint}
        moves = {
            row.name: State.CANDIDATE if row.name in fits else State.INCOMPATIBLE
            for row in versions
            if (row.name in fits) == (row.state == State.INCOMPATIBLE)
            and (row.state == State.INCOMPATIBLE or State(row.state) in ADDRESSABLE)
        }
        if moves:
            gone = {name for name, state in moves.items() if state == State.INCOMPATIBLE}
            await self._take_out(channel, gone, moves, "the base model has changed")

    async def _load_role(self, channel: str, role: _Role, *, alone: bool) -> None:
        while (name := getattr(self._ledger.view(channel), role)) not in (None, BASE):
            try:
                version = await self._ledger.version(name)
                await self._residency.load(version)
            except CorruptArtifactError:
                if not alone:
                    self._not_resident(name, role, CorruptArtifactError.__name__)
                    return
                moves = {name: State.REJECTED} if role == "shadow" else {}
                await self._take_out(channel, {name}, moves, "its files are damaged")
            except AdaptersError as error:
                # The version may be intact: keep the route; the next start tries again.
                self._not_resident(name, role, type(error).__name__)
                return
            else:
                return

    def _not_resident(self, version: str, role: _Role, error: str) -> None:
        self._log.error("adapter_not_resident", version=version, role=role, error=error)

    async def _take_out(
        self, channel: str, gone: set[str], moves: dict[str, State], reason: str
    ) -> None:
        before = self._ledger.view(channel)
        change = Change(before, without(before, gone), moves)
        after = await self._ledger.commit(change, Author("system", reason))
        for name, state in change.states.items():
            self._log.error("adapter_taken_out", version=name, state=state.value, reason=reason)
        if before.live in gone:
            self._fell_back(channel, before.live, after.live)

    def _report_fallback(self, view: RouteView) -> None:
        fallback = serving(view, self._residency.resident())
        if fallback != view.live:
            self._fell_back(view.channel, view.live, fallback)

    def _fell_back(self, channel: str, version: str, fallback: str) -> None:
        self._observer.fell_back(channel, version, fallback)
        self._log.error("adapter_fell_back", channel=channel, version=version, serving=fallback)
