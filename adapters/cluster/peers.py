"""Rules for servers that share a database: which are alive, and what each must load. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from adapters.names import BASE
from adapters.routing.route import RouteView


@dataclass(frozen=True, slots=True)
class Peer:
    """A server as it last reported itself, `age_seconds` ago by the database's clock.

    `loaded` are the versions that can answer; `leaving` are those being unloaded, whose files are
    still needed. `failures` maps a load request (or `route:` and a version) to why it failed.
    """

    id: str
    name: str
    url: str
    age_seconds: float
    started_at: datetime
    base_fingerprint: str = ""
    ready: bool = False
    draining: bool = False
    loaded: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()
    failures: Mapping[str, str] = field(default_factory=dict)
    epochs: Mapping[str, int] = field(default_factory=dict)


Standing = Literal["ready", "starting", "draining", "dead"]


def standing(peer: Peer, dead_seconds: float) -> Standing:
    """Return the standing of a server.

    Route changes wait for `ready` servers; a `starting` one lacks a version that the routes name.
    """
    if peer.age_seconds >= dead_seconds:
        return "dead"
    if peer.draining:
        return "draining"
    return "ready" if peer.ready else "starting"


def alive(peers: Iterable[Peer], dead_seconds: float) -> list[Peer]:
    """Return the servers with a heartbeat in the last `dead_seconds`."""
    return [peer for peer in peers if peer.age_seconds < dead_seconds]


def waited_for(
    peers: Iterable[Peer], versions: Collection[str], dead_seconds: float, *, me: str
) -> dict[str, Peer]:
    """Return, by id, the other servers that must load one of `versions` before a route may name it.

    Servers that are dead, draining or not ready are not waited for: one becomes ready only in a
    transaction that checks that it has loaded all versions of the routes (see `Membership`).
    """
    wanted = set(versions)
    return {
        peer.id: peer
        for peer in peers
        if peer.id != me and standing(peer, dead_seconds) == "ready" and not wanted <= peer.loaded
    }


def routed(routes: Iterable[RouteView]) -> list[str]:
    """Return the versions that the routes name in loading order: live versions first."""
    views = list(routes)
    by_role = [
        name
        for role in ("live", "standby", "canary", "shadow")
        for view in views
        if (name := getattr(view, role)) not in (None, BASE)
    ]
    return list(dict.fromkeys(by_role))


def answering(routes: Iterable[RouteView]) -> set[str]:
    """Return the versions that receive traffic; where one is missing, a fallback answers."""
    named: set[str | None] = set()
    for view in routes:
        named |= {view.live, view.canary}
        if view.holdback_share:
            named.add(view.standby)
    return {name for name in named if name is not None} - {BASE}


def foreign_base(peers: Iterable[Peer], me: str, dead_seconds: float) -> Peer | None:
    """Return a running server with another base model that started before `me`, or None."""
    living = {peer.id: peer for peer in alive(peers, dead_seconds)}
    mine = living.get(me)
    if mine is None:
        return None
    earlier = [one for one in living.values() if (one.started_at, one.id) < (mine.started_at, me)]
    return next((one for one in earlier if one.base_fingerprint != mine.base_fingerprint), None)
