"""The route of a channel: who answers, and how one route follows another. Pure."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from adapters.errors import NothingToRollBackError, RouteChangeError, UnknownModelError
from adapters.lifecycle import State
from adapters.names import BASE

Role = Literal["live", "canary", "pinned"]
"""Why a version answers: it is live, it is the canary, or the request named it."""

_PRINTABLE = re.compile(r"[A-Za-z0-9._@/-]{1,80}")


@dataclass(frozen=True, slots=True)
class RouteView:
    """A channel and its route, as requests see them.

    `live` is `base` or a version; None elsewhere means nobody. `versions` are the channel's
    versions that a request may name (resident or not). `epoch` counts the changes.
    """

    channel: str
    tenant: str
    live: str = BASE
    standby: str | None = None
    canary: str | None = None
    canary_share: float = 0.0
    canary_salt: str = ""
    shadow: str | None = None
    shadow_share: float = 0.0
    epoch: int = 0
    shared: bool = False
    versions: frozenset[str] = frozenset()

    @property
    def roles(self) -> dict[str, State]:
        """The state that the route gives to each version in it."""
        held = (
            (self.live, State.LIVE),
            (self.standby, State.STANDBY),
            (self.canary, State.CANARY),
            (self.shadow, State.SHADOW),
        )
        return {name: state for name, state in held if name is not None and name != BASE}


@dataclass(frozen=True, slots=True)
class Resolved:
    """Who answers a request. `model_label` is what the response's `model` says."""

    channel: str
    version: str
    role: Role
    model_label: str


def resolve(
    model: str,
    routes: Mapping[str, RouteView],
    resident: Collection[str],
    *,
    tenant: str | None = None,
) -> Resolved:
    """Who answers `model`: a channel, or `<channel>@live|canary|base|<version>`.

    A bare channel is always answered: where live is not resident (a load that failed at start),
    by standby or the base model. Explicit names are answered by what they name or not at all. A
    `tenant` sees its own and shared channels; None sees all. Raises `UnknownModelError`.
    """
    channel, explicit, wanted = model.partition("@")
    view = routes.get(channel)
    if view is None or not (tenant is None or view.shared or view.tenant == tenant):
        raise UnknownModelError(_printable(model))
    if not explicit:
        version = serving(view, resident)
        return Resolved(channel, version, "live", f"{channel}@{version}")
    named = {"live": view.live, "canary": view.canary}.get(wanted, wanted)
    if named != BASE and not (named in view.versions and named in resident):
        raise UnknownModelError(_printable(model))
    return Resolved(channel, str(named), "pinned", f"{channel}@{named}")


def serving(view: RouteView, resident: Collection[str]) -> str:
    """Who answers the bare channel: live, or what stands in where live is not resident."""
    if view.live == BASE or view.live in resident:
        return view.live
    return view.standby if view.standby in resident and view.standby is not None else BASE


def with_live(view: RouteView, version: str) -> RouteView:
    """The route after `version` (or `base`) was promoted: live stays behind as standby."""
    if version == view.live:
        raise RouteChangeError(f"{version} is live already: nothing to change")
    cleared = _cleared(view, {version})
    standby = None if view.live == BASE else view.live
    return replace(cleared, live=version, standby=standby, epoch=view.epoch + 1)


def with_rollback(view: RouteView, *, skip_standby: bool = False) -> RouteView:
    """The route after a rollback: standby is live again, or the base model where there is none.

    `skip_standby` goes straight to the base model. Raises `NothingToRollBackError`.
    """
    if view.live == BASE and view.standby is None:
        raise NothingToRollBackError(view.channel)
    live = BASE if skip_standby or view.standby is None else view.standby
    return replace(view, live=live, standby=None, epoch=view.epoch + 1)


def with_canary(view: RouteView, version: str | None, share: float, salt: str) -> RouteView:
    """The route with `version` answering `share` (0 to 1) of the users; None ends the canary."""
    _check_side(view, version, share, "canary")
    return replace(
        _cleared(view, {version}),
        canary=version,
        canary_share=share,
        canary_salt=salt,
        epoch=view.epoch + 1,
    )


def with_shadow(view: RouteView, version: str | None, share: float) -> RouteView:
    """The route with `version` answering `share` (0 to 1) of the prompts unseen; None ends it."""
    _check_side(view, version, share, "shadow")
    return replace(
        _cleared(view, {version}), shadow=version, shadow_share=share, epoch=view.epoch + 1
    )


def without(view: RouteView, gone: Collection[str]) -> RouteView:
    """The route when `gone` cannot serve: standby, then the base model, stands in for live."""
    after = _cleared(view, gone)
    if view.live in gone:
        after = replace(after, live=after.standby or BASE, standby=None)
    return after if after == view else replace(after, epoch=view.epoch + 1)


def state_changes(before: RouteView, after: RouteView) -> dict[str, State]:
    """The new state of each version whose role differs between two routes of a channel."""
    held, holds = before.roles, after.roles
    left = {
        State.LIVE: State.ROLLED_BACK,
        State.STANDBY: State.RETIRED,
        State.CANARY: State.ROLLED_BACK,
        State.SHADOW: State.CANDIDATE,
    }
    changes = {name: state for name, state in holds.items() if held.get(name) != state}
    return changes | {name: left[state] for name, state in held.items() if name not in holds}


def _cleared(view: RouteView, names: Collection[str | None]) -> RouteView:
    """The route with `names` out of every role but live."""
    present = {name for name in names if name is not None}
    if view.standby in present:
        view = replace(view, standby=None)
    if view.canary in present:
        view = replace(view, canary=None, canary_share=0.0, canary_salt="")
    if view.shadow in present:
        view = replace(view, shadow=None, shadow_share=0.0)
    return view


def _check_side(view: RouteView, version: str | None, share: float, role: str) -> None:
    if not 0 <= share <= 1 or (version is None and share > 0):
        raise RouteChangeError(f"the {role}'s share is between 0 and 1, and 0 without a version")
    if version is not None and version in (view.live, view.standby, BASE):
        raise RouteChangeError(f"{version} is live, standby or base: it cannot be the {role}")


def _printable(model: str) -> str | None:
    """`model` where it can be shown: clients send anything."""
    return model if _PRINTABLE.fullmatch(model) else None
