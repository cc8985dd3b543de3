"""The route of a channel: which version answers, and how routes change. Pure."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from adapters.errors import NothingToRollBackError, RouteChangeError, UnknownModelError
from adapters.names import BASE
from adapters.routing.lifecycle import State
from common.hashing import unit_interval

Role = Literal["live", "canary", "holdback", "pinned", "comparison"]
"""Why a version answers: it is live; it is the canary; it is the previous live version, kept for a
holdback share of the users while the new one is watched; the request named it; or it is one side of
a comparison."""

_WATCH = ".watch"
"""Suffix of the name of the trial that watches a canary after its promotion."""
_PRINTABLE = re.compile(r"[A-Za-z0-9._@/-]{1,80}")


@dataclass(frozen=True, slots=True)
class RouteView:
    """A channel and its route.

    `live` is `base` or a version; the other roles are None if no version has them. `versions` are
    the channel's versions that a request may name, loaded or not. `epoch` counts the changes of the
    route. Shares are fractions from 0 to 1.

    A *trial* (an A/B experiment) compares two versions on users: the canary with live, or a new
    live version with the previous one, which `holdback_share` of the users keep. `trial` is its
    name, and the salt of the hash that assigns users to its arms; empty if there is none.
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
        """The state of each version in the route."""
        held = (
            (self.live, State.LIVE),
            (self.standby, State.STANDBY),
            (self.canary, State.CANARY),
            (self.shadow, State.SHADOW),
        )
        return {name: state for name, state in held if name is not None and name != BASE}


@dataclass(frozen=True, slots=True)
class Resolved:
    """The version that answers a request. `model_label` is the `model` of the response.

    `trial` is the trial in which the request counts, if any, and `share` the fraction of users
    assigned to the newer version.
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
    """Return the version for `model`: a channel, or `<channel>@live|canary|base|<version>`.

    A bare channel is always answered: if live is not loaded, standby or the base model answers.
    During a trial, a hash of `user` selects the arm, always the same one for a user. An explicit
    name is answered by the named version or refused. Explicit names, and requests with `in_trial`
    false, do not count in a trial.

    Args:
        model: What the request names.
        routes: The routes by channel.
        resident: The versions that are loaded here.
        tenant: Whose channels are visible, besides shared ones; None for all.
        user: Identifies the user in the trial.
        in_trial: Whether the request may count in a trial.

    Raises:
        UnknownModelError: The channel is unknown or not visible, or the named version is not
            loaded or may not be named.

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
    role, version = arms.newer if bucket(view.trial, user) < arms.share else arms.older
    label = f"{view.channel}@{version}"
    return Resolved(view.channel, version, role, label, view.trial, arms.share)


class _Arms(NamedTuple):
    """The arms of a trial, each a role and a version; `share` is the newer arm's share of users."""

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


def bucket(trial: str, user: str) -> float:
    """Hash the user into a bucket of a trial: uniform in [0, 1), independent between trials.

    Users below the share are in the newer arm, so that they stay in it as the share grows. The
    watch after a promotion (`watch_of`) uses the canary's buckets.
    """
    salt = trial.partition(".")[0]
    return unit_interval(f"{salt}\0{user}".encode(errors="surrogatepass"))


def watch_of(trial: str) -> str:
    """Return the name of the trial that watches a promoted canary; users keep their buckets."""
    return f"{trial}{_WATCH}"


def watched(trial: str) -> str:
    """Return the canary's trial that the watch `trial` follows; return any other as it is."""
    return trial.removesuffix(_WATCH)


def serving(view: RouteView, resident: Collection[str]) -> str:
    """Return the version that answers the bare channel: live or, if not loaded, its fallback."""
    if view.live == BASE or view.live in resident:
        return view.live
    return view.standby if view.standby in resident and view.standby is not None else BASE


def with_live(
    view: RouteView, version: str, *, holdback_share: float = 0.0, trial: str = ""
) -> RouteView:
    """Return the route after the promotion of `version` (or `base`); live becomes standby.

    The previous live version still answers `holdback_share` of the users, the other arm of `trial`.
    A canary ends, because the version that it was compared with is no longer live. Raises
    `RouteChangeError` if `version` is live already.
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
    """Return the route after a rollback to standby or, if there is none, to the base model.

    `skip_standby` rolls back to the base model in any case. Raises `NothingToRollBackError`.
    """
    if view.live == BASE and view.standby is None:
        raise NothingToRollBackError(view.channel)
    live = BASE if skip_standby or view.standby is None else view.standby
    return replace(_without_trial(view), live=live, standby=None, epoch=view.epoch + 1)


def with_canary(view: RouteView, version: str | None, share: float, trial: str) -> RouteView:
    """Return the route with `version` as the canary of `share` (0 to 1) of the users; None ends it.

    A channel has at most one trial: starting a canary ends a holdback.
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
    """Return the route without a canary or a holdback: live answers all users."""
    return replace(_without_trial(view), epoch=view.epoch + 1) if view.trial else view


def with_shadow(view: RouteView, version: str | None, share: float) -> RouteView:
    """Return the route with `version` as the shadow of `share` (0 to 1) of the requests.

    The shadow's answers are logged but not returned. None ends it.
    """
    _check_side(view, version, share, "shadow")
    return replace(
        _cleared(view, {version}), shadow=version, shadow_share=share, epoch=view.epoch + 1
    )


def without(view: RouteView, gone: Collection[str]) -> RouteView:
    """Return the route without the versions `gone`; standby or the base model replaces live."""
    after = _cleared(view, gone)
    if view.live in gone:
        after = replace(_without_trial(after), live=after.standby or BASE, standby=None)
    return after if after == view else replace(after, epoch=view.epoch + 1)


def state_changes(before: RouteView, after: RouteView) -> dict[str, State]:
    """Return the new state of each version whose role differs between two routes of a channel."""
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
    """Return the route with `names` removed from every role except live."""
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
        raise RouteChangeError(
            f"the {role}'s share must be between 0 and 1, and 0 without a version"
        )
    if version is not None and version in (view.live, view.standby, BASE):
        raise RouteChangeError(f"{version} is live, standby or base: it cannot be the {role}")


def printable(model: str) -> str | None:
    """Return `model` if it is safe to show in a message, else None: clients may send anything."""
    return model if _PRINTABLE.fullmatch(model) else None
