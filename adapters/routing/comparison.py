"""Which two versions answer a comparison. Pure."""

from collections.abc import Collection, Mapping
from typing import Literal

from adapters.errors import NothingToCompareError
from adapters.names import BASE
from adapters.routing.route import Resolved, RouteView, resolve, serving

Between = Literal["canary", "shadow", "samples"]
"""What live is compared with: the canary, the shadow, or a second sample from live itself."""


def compared(
    channel: str,
    routes: Mapping[str, RouteView],
    resident: Collection[str],
    between: Between | None,
    *,
    tenant: str | None = None,
) -> tuple[Resolved, Resolved]:
    """Return the two sides of a comparison: live, and the version it is compared with.

    If `between` is None, live is compared with the canary if there is one, else with itself.
    Neither side counts in a trial, because the user sees both arms. A `tenant` sees its own and
    shared channels. Raises `UnknownModelError`, and `NothingToCompareError` if the channel has no
    version in that role.
    """
    view = routes[resolve(channel, routes, resident, tenant=tenant).channel]
    live = serving(view, resident)
    others = {"canary": view.canary, "shadow": view.shadow, "samples": live}
    if between is None:
        between = "canary" if view.canary in resident else "samples"
    other = others[between]
    if other is None or not (other == BASE or other in resident):
        raise NothingToCompareError(view.channel, between)
    return _side(view, live), _side(view, other)


def _side(view: RouteView, version: str) -> Resolved:
    return Resolved(view.channel, version, "comparison", f"{view.channel}@{version}")
