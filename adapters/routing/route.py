"""The route of a channel: who answers, and how one route follows another. Pure."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from adapters.errors import NothingToRollBackError, RouteChangeError, UnknownModelError
from adapters.names import BASE
from adapters.routing.lifecycle import State
from common.hashing import unit_interval

Role = Literal["live", "canary", "holdback", "pinned", "comparison"]
"""Why a version answers: it is live, it is the canary, it is the one before (held back for some
users while a new live one is watched), the request named it, or it is one side of a comparison."""

_WATCH = ".watch"
_PRINTABLE = re.compile(r"[A-Za-z0-9._@/-]{1,80}")


@dataclass(frozen=True, slots=True)
class RouteView:
    """A channel and its route, as requests see them.

    `live` is `base` or a version; None elsewhere means nobody. `versions` are the channel's
    versions that a request may name (resident or not). `epoch` counts the changes.

    A *trial* compares two versions on users: a canary with live, or, for the `holdback_share` of
    the users who stay on the version before, that one with a new live. `trial` is its name and the
    salt under which users fall to its arms; empty without one.
    """

    channel: str
    tenant: str
    live: str = BASE
    standby: str | None = None
    canary: str | None = None
    canary_share: float = 0.0
    holdback_share: float = 0.0
    trial: str = ""
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
    """Who answers a request. `model_label` is what the response's `model` says.

    `trial` is the one that the request takes part in; `share` is that of the newer version's users.
    """

    channel: str
    version: str
    role: Role
    model_label: str
    trial: str | None = None
    share: float | None = None


def resolve(
    model: str,
    routes: Mapping[str, RouteView],
    resident: Collection[str],
    *,
    tenant: str | None = None,
    user: str = "",
    in_trial: bool = True,
) -> Resolved:
    """Who answers `model`: a channel, or `<channel>@live|canary|base|<version>`.

    A bare channel is always answered: where live is not resident (a load that failed at start),
    by standby or the base model. During a trial the `user` decides which arm answers, the same one
    each time. Explicit names are answered by what they name or not at all, and take part in no
    trial, nor do requests with `in_trial` false. A `tenant` sees its own and shared channels; None
    sees all. Raises `UnknownModelError`.
    """
    channel, explicit, wanted = model.partition("@")
    view = routes.get(channel)
    if view is None or not (tenant is None or view.shared or view.tenant == tenant):
        raise UnknownModelError(printable(model))
    if not explicit:
        return _by_route(view, resident, user, in_trial=in_trial)
    named = {"live": view.live, "canary": view.canary}.get(wanted, wanted)
    if named != BASE and not (named in view.versions and named in resident):
        raise UnknownModelError(printable(model))
    return Resolved(channel, str(named), "pinned", f"{channel}@{named}")


def _by_route(view: RouteView, resident: Collection[str], user: str, *, in_trial: bool) -> Resolved:
    version = serving(view, resident)
    arms = _arms(view) if in_trial else None
    if arms is None or not {version, *arms.versions} - {BASE} <= set(resident):
        return Resolved(view.channel, version, "live", f"{view.channel}@{version}")
    role, version = arms.newer if place(view.trial, user) < arms.share else arms.older
    label = f"{view.channel}@{version}"
    return Resolved(view.channel, version, role, label, view.trial, arms.share)


class _Arms(NamedTuple):
    """The arms of a trial, each a role and a version; `share` of the users fall to the newer."""

    newer: tuple[Role, str]
    older: tuple[Role, str]
    share: float

    @property
    def versions(self) -> set[str]:
        return {self.newer[1], self.older[1]}


def _arms(view: RouteView) -> _Arms | None:
    if view.canary is not None:
        return _Arms(("canary", view.canary), ("live", view.live), view.canary_share)
    if view.holdback_share:
        before = view.standby or BASE
        return _Arms(("live", view.live), ("holdback", before), 1 - view.holdback_share)
    return None


def place(trial: str, user: str) -> float:
    """Where a user stands in a trial: uniform in [0, 1), the same each time, drawn anew by trial.

    As the share grows, whoever has met the newer version goes on meeting it; so too where a canary
    is promoted and watched (`watch_of`).
    """
    salt = trial.partition(".")[0]
    return unit_interval(f"{salt}\0{user}".encode(errors="surrogatepass"))


def watch_of(trial: str) -> str:
    """The name of the watch after a canary: users stand where they stood."""
    return f"{trial}{_WATCH}"


def watched(trial: str) -> str:
    """The canary whose watch `trial` is; `trial` itself where it is none."""
    return trial.removesuffix(_WATCH)


def serving(view: RouteView, resident: Collection[str]) -> str:
    """Who answers the bare channel: live, or what stands in where live is not resident."""
    if view.live == BASE or view.live in resident:
        return view.live
    return view.standby if view.standby in resident and view.standby is not None else BASE


def with_live(
    view: RouteView, version: str, *, holdback_share: float = 0.0, trial: str = ""
) -> RouteView:
    """The route after `version` (or `base`) was promoted: live stays behind as standby.

    It goes on answering the `holdback_share` of the users: they are the other arm of `trial`. A
    canary ends: what it was compared with is no longer live.
    """
    if version == view.live:
        raise RouteChangeError(f"{version} is live already: nothing to change")
    cleared = _cleared(view, {version})
    standby = None if view.live == BASE else view.live
    return replace(
        _without_trial(cleared),
        live=version,
        standby=standby,
        holdback_share=holdback_share,
        trial=trial,
        epoch=view.epoch + 1,
    )


def with_rollback(view: RouteView, *, skip_standby: bool = False) -> RouteView:
    """The route after a rollback: standby is live again, or the base model where there is none.

    `skip_standby` goes straight to the base model. Raises `NothingToRollBackError`.
    """
    if view.live == BASE and view.standby is None:
        raise NothingToRollBackError(view.channel)
    live = BASE if skip_standby or view.standby is None else view.standby
    return replace(_without_trial(view), live=live, standby=None, epoch=view.epoch + 1)


def with_canary(view: RouteView, version: str | None, share: float, trial: str) -> RouteView:
    """The route with `version` answering `share` (0 to 1) of the users; None ends the canary.

    A channel has one trial: a holdback ends when a canary begins.
    """
    _check_side(view, version, share, "canary")
    return replace(
        _without_trial(_cleared(view, {version})),
        canary=version,
        canary_share=share,
        trial=trial,
        epoch=view.epoch + 1,
    )


def without_trial(view: RouteView) -> RouteView:
    """The route when a canary has ended or a watch is over: live answers everybody."""
    return replace(_without_trial(view), epoch=view.epoch + 1) if view.trial else view


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
        after = replace(_without_trial(after), live=after.standby or BASE, standby=None)
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
        view = _without_trial(view) if view.holdback_share else view
    if view.canary in present:
        view = _without_trial(view)
    if view.shadow in present:
        view = replace(view, shadow=None, shadow_share=0.0)
    return view


def _without_trial(view: RouteView) -> RouteView:
    return replace(view, canary=None, canary_share=0.0, holdback_share=0.0, trial="")


def _check_side(view: RouteView, version: str | None, share: float, role: str) -> None:
    if not 0 <= share <= 1 or (version is None and share > 0):
        raise RouteChangeError(f"the {role}'s share is between 0 and 1, and 0 without a version")
    if version is not None and version in (view.live, view.standby, BASE):
        raise RouteChangeError(f"{version} is live, standby or base: it cannot be the {role}")


def printable(model: str) -> str | None:
    """`model` where it can be shown: clients send anything."""
    return model if _PRINTABLE.fullmatch(model) else None
