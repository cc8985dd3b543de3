"""The services of one app, which `assemble` constructs and routes use."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from adapters.errors import UnknownChannelError, UnknownModelError, UnknownVersionError
from adapters.names import BASE
from adapters.routing.route import RouteView, printable, serving
from adapters.schemas import VersionOut
from adapters.service import Registry
from common.clock import Clock
from feedback.recorder.forwarder import Forwarder
from feedback.recorder.recorder import Recorder
from feedback.service import FeedbackService
from retrain.errors import UnknownRunError
from retrain.schemas import RunOut
from retrain.service import RunService
from server.auth.keys import KeyRing, Principal
from server.database.database import Database
from server.engine.base import Engine, EngineInfo
from server.maintenance.retention import Retention
from server.metrics.metrics import Metrics
from server.serving.answering import AnsweringService
from server.serving.comparisons import Comparisons
from server.serving.drain import Drain
from server.settings import DEFAULT_CHANNEL, Settings
from server.startup.deferred import DeferredStartup


@dataclass(slots=True)
class Services:
    """All services of one app, and the access checks that several routes share."""

    settings: Settings
    clock: Clock
    database: Database
    forwarder: Forwarder | None
    deferred: DeferredStartup
    keys: KeyRing
    operator_token: str
    engine: Engine
    registry: Registry
    recorder: Recorder
    feedback: FeedbackService
    serving: AnsweringService
    comparisons: Comparisons
    runs: RunService
    metrics: Metrics
    drain: Drain
    retention: Retention

    def channel_of(self, who: Principal, name: str | None) -> str:
        """Return the channel of that name (None: the default) if `who` may chat with it.

        Raises `UnknownChannelError` otherwise.
        """
        view = self.registry.routes().get(name or DEFAULT_CHANNEL)
        if view is None or not (who.may_use(view.tenant) or view.shared):
            raise UnknownChannelError
        return view.channel

    def own_channel(self, who: Principal, name: str) -> str:
        """Return the channel of that name if `who` may administer it.

        Sharing a channel does not allow that. Raises `UnknownChannelError` otherwise.
        """
        view = self.registry.routes().get(name)
        if view is None or not who.may_use(view.tenant):
            raise UnknownChannelError
        return view.channel

    async def own_version(self, who: Principal, version: str) -> None:
        """Raise `UnknownVersionError` unless `who` may administer the version's channel."""
        row = await self.registry.version(version)
        if not who.may_use(self.registry.routes()[row.channel].tenant):
            raise UnknownVersionError

    async def described(self, version: str) -> VersionOut:
        """Return the description of one version."""
        row = await self.registry.version(version)
        described = await self.registry.describe(row.channel)
        return next(one for one in described if one.name == version)

    async def own_run(self, who: Principal, run: str) -> RunOut:
        """Return a run if `who` may administer its channel; raises `UnknownRunError` otherwise."""
        found = await self.runs.run(run)
        if not who.may_use(self.registry.routes()[found.channel].tenant):
            # The same message as for a missing run, so that it does not reveal other tenants' runs.
            raise UnknownRunError("there is no such run: 'pawl runs list' shows them")
        return found

    def model_list(self, who: Principal) -> list[dict[str, Any]]:
        """Return the list of `GET /v1/models`: channels, their `@base`, and resident versions."""
        resident = self.engine.resident()
        views = self.registry.routes().values()
        seen = [view for view in views if view.shared or who.may_use(view.tenant)]
        return [card for view in seen for card in model_cards(view, resident, self.engine.info)]

    def model_card(self, who: Principal, identifier: str) -> dict[str, Any]:
        """Return one entry of that list; raises `UnknownModelError` if it is not in it."""
        for card in self.model_list(who):
            if card["id"] == identifier:
                return card
        raise UnknownModelError(printable(identifier))

    async def readiness(self) -> dict[str, Any]:
        """Return the state for `GET /health/ready`.

        A server is ready if its engine is alive, it knows a route, it has loaded every version that
        other servers have loaded for the routes, and it does not drain. An unavailable database is
        reported as degraded, but the server stays ready.
        """
        engine = self.engine.alive()
        route, lacking = bool(self.registry.routes()), self.registry.is_fallback
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
        """Whether the database answers, holds all rows, and startup is complete."""
        behind = self.forwarder is not None and self.forwarder.behind
        return self.deferred.done and not (self.database.away or behind)


def model_cards(
    view: RouteView, resident: Collection[str], engine: EngineInfo
) -> list[dict[str, Any]]:
    """Return one channel's entries in OpenAI's list of models.

    `root` is the version that answers and `parent` its base model, as in vLLM's list;
    `max_model_len` is the context length in tokens, prompt and answer together.
    """
    live = serving(view, resident)
    versions = sorted(view.versions & set(resident))
    cards = [
        (view.channel, f"{view.channel}@{live}", None if live == BASE else engine.name),
        (f"{view.channel}@{BASE}", engine.name, None),
        *((f"{view.channel}@{name}", name, engine.name) for name in versions),
    ]
    return [_card(*card, engine.max_model_len) for card in cards]


def _card(name: str, root: str, parent: str | None, context: int) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "pawl",
        "root": root,
        "parent": parent,
        "max_model_len": context,
    }
