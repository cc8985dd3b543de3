"""What a start makes of what the last run left: incompatible versions, damaged files, loads.

Nothing here stops the start: chat goes on with what is left, and says so loudly. Where other
servers live, files that are damaged here are no reason to change the route of all.
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
"""In the order in which they get the engine's slots."""
_ATTEMPTS = 4


class Recovery:
    """Makes the routes answerable after a start."""

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
        """Compare base models, then load what should be resident: live of all channels first.

        `alone`: no other server lives, and none has another base model in any case.
        """
        await self._ledger.refresh()
        channels = list(self._ledger.routes)
        for channel in channels:
            await self._match_base_at_once(channel)
        for role in _ROLES:
            for channel in channels:
                await self._load_role(channel, role, alone=alone)
        for channel in channels:
            self._tell_stand_in(self._ledger.view(channel))

    async def load_known(self, versions: Mapping[str, Version]) -> None:
        """Load what the routes name, with these rows: the database cannot be asked.

        What cannot be loaded keeps its place in the route; something else stands in for it.
        """
        views = list(self._ledger.routes.values())
        for role in _ROLES:
            for view in views:
                version = versions.get(getattr(view, role) or BASE)
                if version is not None and version.base_fingerprint == self._base.fingerprint:
                    await self._try_to_load(version, role)
        for view in views:
            self._tell_stand_in(view)

    async def _try_to_load(self, version: Version, role: _Role) -> None:
        try:
            await self._residency.load(version)
        except AdaptersError as error:
            self._not_resident(version.name, role, type(error).__name__)

    async def _match_base_at_once(self, channel: str) -> None:
        """As `_match_base`, while other servers that start do the same."""
        for _ in range(_ATTEMPTS):
            try:
                await self._match_base(channel)
            except (StaleRouteError, TransitionError):
                await self._ledger.refresh()
            else:
                return
        await self._match_base(channel)

    async def _match_base(self, channel: str) -> None:
        """Take versions of another base model out; let those of this one in again."""
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
                # Not the version's fault for certain: the route stays, the next start tries again.
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

    def _tell_stand_in(self, view: RouteView) -> None:
        stand_in = serving(view, self._residency.resident())
        if stand_in != view.live:
            self._fell_back(view.channel, view.live, stand_in)

    def _fell_back(self, channel: str, version: str, stand_in: str) -> None:
        self._observer.fell_back(channel, version, stand_in)
        self._log.error("adapter_fell_back", channel=channel, version=version, serving=stand_in)
