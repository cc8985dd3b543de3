"""What routes are given: the services of this app, and who asks."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from adapters.errors import UnknownChannelError, UnknownVersionError
from adapters.names import BASE
from adapters.route import RouteView, serving
from adapters.schemas import VersionOut
from adapters.service import Registry
from feedback.errors import FeedbackTokenError
from feedback.forwarder import Forwarder
from feedback.ports import Clock
from feedback.recorder import Recorder
from feedback.service import FeedbackService
from feedback.tokens import FeedbackGrant, is_feedback_token
from retrain.errors import UnknownRunError
from retrain.schemas import RunOut
from retrain.service import RunService
from server.auth import KeyRing, Principal, bearer
from server.comparisons import Comparisons
from server.db import Database
from server.drain import Drain
from server.engine.base import Engine
from server.errors import HostError
from server.metrics import Metrics
from server.opening import Rest
from server.retention import Retention
from server.serving import Serving
from server.settings import DEFAULT_CHANNEL, Settings

_LOOPBACK_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?")


@dataclass(slots=True)
class Services:
    """Everything that one app is made of."""

    settings: Settings
    clock: Clock
    database: Database
    forwarder: Forwarder | None
    rest: Rest
    keys: KeyRing
    operator_token: str
    engine: Engine
    registry: Registry
    recorder: Recorder
    feedback: FeedbackService
    serving: Serving
    comparisons: Comparisons
    runs: RunService
    metrics: Metrics
    drain: Drain
    retention: Retention

    def channel_of(self, who: Principal, name: str | None) -> str:
        """The channel of that name, if it is theirs; raises `UnknownChannelError`."""
        view = self.registry.routes().get(name or DEFAULT_CHANNEL)
        if view is None or not (who.may_use(view.tenant) or view.shared):
            raise UnknownChannelError
        return view.channel

    def own_channel(self, who: Principal, name: str) -> str:
        """The channel of that name, if it is theirs to run: sharing one lets others chat only."""
        view = self.registry.routes().get(name)
        if view is None or not who.may_use(view.tenant):
            raise UnknownChannelError
        return view.channel

    async def own_version(self, who: Principal, version: str) -> None:
        """Raise `UnknownVersionError` unless the version is of a channel of theirs."""
        row = await self.registry.version(version)
        if not who.may_use(self.registry.routes()[row.channel].tenant):
            raise UnknownVersionError

    async def described(self, version: str) -> VersionOut:
        """One version, as it is told."""
        row = await self.registry.version(version)
        described = await self.registry.describe(row.channel)
        return next(one for one in described if one.name == version)

    async def own_run(self, who: Principal, run: str) -> RunOut:
        """A run of a channel of theirs; raises `UnknownRunError`."""
        found = await self.runs.run(run)
        if not who.may_use(self.registry.routes()[found.channel].tenant):
            # In the words of `runs.run`: what is not theirs is not there.
            raise UnknownRunError("there is no such run: 'pawl runs list' shows them")
        return found

    def model_list(self, who: Principal) -> list[dict[str, Any]]:
        """What `GET /v1/models` lists: channels, `@base`, and resident versions."""
        resident = self.engine.resident()
        views = self.registry.routes().values()
        seen = [view for view in views if view.shared or who.may_use(view.tenant)]
        return [
            card for view in seen for card in model_cards(view, resident, self.engine.info.name)
        ]

    async def readiness(self) -> dict[str, Any]:
        """Ready means: the engine answers, no drain, a route is known. A dead database degrades.

        Nor is a server ready that lacks a version which the routes name and other servers hold.
        """
        engine = self.engine.alive()
        route, lacking = bool(self.registry.routes()), self.registry.stands_in
        return {
            "ready": engine and route and not lacking and not self.drain.draining,
            "engine": "ok" if engine else "dead",
            "route": "ok" if route else "unknown",
            "adapters": "missing" if lacking else "ok",
            "draining": self.drain.draining,
            "database": "ok" if self._database_serves else "degraded",
        }

    @property
    def _database_serves(self) -> bool:
        """Whether it answers, has what was spooled, and was there for the whole start."""
        behind = self.forwarder is not None and self.forwarder.behind
        return self.rest.done and not (self.database.away or behind)


def model_cards(view: RouteView, resident: Collection[str], base: str) -> list[dict[str, Any]]:
    """One channel in OpenAI's list: `root` is what answers, `parent` the base under an adapter."""
    live = serving(view, resident)
    cards = [_card(view.channel, f"{view.channel}@{live}", None if live == BASE else base)]
    cards.append(_card(f"{view.channel}@{BASE}", base, None))
    versions = sorted(view.versions & set(resident))
    return cards + [_card(f"{view.channel}@{name}", name, base) for name in versions]


def _card(name: str, root: str, parent: str | None) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "pawl",
        "root": root,
        "parent": parent,
    }


# Routes' dependencies are coroutines though they wait for nothing: FastAPI would give each call of
# a plain function to a thread.


async def services(request: Request) -> Services:
    """The services of the app that got the request."""
    found: Services = request.app.state.services
    return found


def names_this_machine(host: str) -> bool:
    """Whether a Host header names this machine (`request.url` would make up for a bad one)."""
    return _LOOPBACK_HOST.fullmatch(host.lower()) is not None


async def principal(request: Request, here: Annotated[Services, Depends(services)]) -> Principal:
    """Who asks; raises `AuthenticationError`.

    While everybody may in, the Host header must name this machine: otherwise a web page that the
    operator visits could reach the server through a name of its own (DNS rebinding).
    """
    _check_host(request, here)
    return await here.keys.authenticate(request.headers.get("authorization"))


def _check_host(request: Request, here: Services) -> None:
    if here.keys.open and not names_this_machine(request.headers.get("host", "")):
        raise HostError


async def judge(
    request: Request, here: Annotated[Services, Depends(services)]
) -> Principal | FeedbackGrant:
    """Who may send feedback: an application, or whoever holds a feedback token.

    Raises `FeedbackTokenError`, too for a page of another origin that comes without a token: while
    everybody on the machine may in, its visitors may not.
    """
    _check_host(request, here)
    authorization = request.headers.get("authorization")
    token = bearer(authorization)
    if token is not None and is_feedback_token(token):
        return here.feedback.granted(token)
    if here.keys.open and request.headers.get("origin") in here.settings.server.cors_origins:
        raise FeedbackTokenError.needed()
    who = await here.keys.authenticate(authorization)
    who.require("app")
    return who


async def application(who: Annotated[Principal, Depends(principal)]) -> Principal:
    """Somebody with the role `app`."""
    who.require("app")
    return who


async def administrator(who: Annotated[Principal, Depends(principal)]) -> Principal:
    """Somebody with the role `admin`."""
    who.require("admin")
    return who
