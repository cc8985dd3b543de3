"""Puts the parts of one app together, in the order in which they need each other."""

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from random import SystemRandom

from fastapi import FastAPI

from adapters.artifacts import ArtifactStore
from adapters.base_model import BaseModelInfo, read_modules
from adapters.service import Registry
from feedback.callback import FeedbackCallback
from feedback.ids import InteractionIds
from feedback.recorder import Recorder
from feedback.service import FeedbackService
from feedback.tokens import FeedbackTokens
from retrain.context import World
from retrain.service import RunService
from server.comparisons import Comparisons
from server.dependencies import Services
from server.drain import Drain
from server.engine.base import Engine
from server.engine.config import EngineConfig
from server.housekeeping import start_housekeeping
from server.lock import DataLock, RunningServer
from server.metrics import Metrics
from server.opening import Opening, Rest, open_recorder
from server.remembering import Remembering
from server.serving import Serving
from server.settings import Settings
from server.shadow import Shadow
from server.weekly import begin_runs, make_runs

StartEngine = Callable[[EngineConfig], Awaitable[Engine]]


async def assemble(app: FastAPI, stack: AsyncExitStack) -> Services:
    """Start everything; what was started is ended by `stack`, last first."""
    settings: Settings = app.state.settings
    clock, metrics, token = app.state.clock, Metrics(), secrets.token_urlsafe(32)
    lock = DataLock(settings.data_dir).acquire()
    stack.callback(lock.release)
    opening = Opening(app, stack, metrics, token)
    await opening.open()
    database = opening.database
    engine = await app.state.start_engine(settings.engine)
    stack.push_async_callback(engine.close)
    base = await base_model(engine)
    store = ArtifactStore(settings.data_dir / "adapters")
    registry = Registry(database, engine, store, clock, settings.adapters, base, metrics.adapters)
    stack.push_async_callback(registry.close)
    if opening.known is None:
        await _open_registry(app, registry)
    else:
        known = opening.known
        await registry.start_without_database(known.route_views(), known.version_rows())
    metrics.expect(registry.routes())
    recorder, forwarder = await open_recorder(app, opening, metrics, stack)
    ids, tokens = InteractionIds(opening.secret), FeedbackTokens(opening.secret)
    drain = Drain(settings.server.drain_seconds)
    serving = _serving(
        app,
        stack,
        engine=engine,
        registry=registry,
        recorder=recorder,
        ids=ids,
        drain=drain,
        metrics=metrics,
    )
    runs, world = await make_runs(
        app,
        database=database,
        registry=registry,
        store=store,
        base=base,
        metrics=metrics,
        token=token,
        stack=stack,
    )
    rest = _rest(app, opening, registry, runs, world, metrics)
    stack.push_async_callback(rest.close)
    services = Services(
        settings=settings,
        clock=clock,
        database=database,
        forwarder=forwarder,
        rest=rest,
        keys=opening.keys,
        operator_token=token,
        engine=engine,
        registry=registry,
        recorder=recorder,
        feedback=FeedbackService(database, recorder, ids, tokens, settings.feedback, clock),
        serving=serving,
        comparisons=Comparisons(
            serving=serving,
            engine=engine,
            registry=registry,
            ids=ids,
            drain=drain,
            clock=clock,
            random=SystemRandom(),
        ),
        runs=runs,
        metrics=metrics,
        drain=drain,
    )
    if not app.state.offline:
        await (rest.now() if opening.known is None else rest.later(opening.prepare))
        lock.announce(RunningServer(url=app.state.url, token=token, pid=os.getpid()))
    return services


def _rest(
    app: FastAPI,
    opening: Opening,
    registry: Registry,
    runs: RunService,
    world: World,
    metrics: Metrics,
) -> Rest:
    """What a start does last, once the database is there."""
    settings: Settings = app.state.settings

    async def work(stack: AsyncExitStack) -> None:
        if opening.known is not None:
            await registry.make_up()
            await _ensure_channels(settings, registry)
            metrics.expect(registry.routes())
        remembering = Remembering(
            settings.data_dir, opening.name, opening.secret, opening.keys, registry
        )
        remembering.start()
        stack.push_async_callback(remembering.close)
        await begin_runs(runs, world, stack)
        start_housekeeping(registry, app.state.clock, stack)

    return Rest(work)


def _serving(  # noqa: PLR0913  (what it is made of)
    app: FastAPI,
    stack: AsyncExitStack,
    *,
    engine: Engine,
    registry: Registry,
    recorder: Recorder,
    ids: InteractionIds,
    drain: Drain,
    metrics: Metrics,
) -> Serving:
    """What answers, and the shadow beside it."""
    settings: Settings = app.state.settings
    callback = FeedbackCallback(record=recorder.record)
    shadow = Shadow(
        engine=engine,
        registry=registry,
        ids=ids,
        callback=callback,
        clock=app.state.clock,
        metrics=metrics.serving,
        outcomes=metrics.shadow,
        config=settings.server.shadow,
        draining=lambda: drain.draining,
        monotonic=time.monotonic,
    )
    stack.push_async_callback(shadow.close)
    return Serving(
        engine=engine,
        registry=registry,
        ids=ids,
        callback=callback,
        drain=drain,
        clock=app.state.clock,
        metrics=metrics.serving,
        shadow=shadow,
        limits=settings.server.limits,
        commit_wait_seconds=settings.feedback.commit_wait_seconds,
    )


async def _open_registry(app: FastAPI, registry: Registry) -> None:
    await (registry.read_routes() if app.state.offline else registry.start())
    await _ensure_channels(app.state.settings, registry)


async def _ensure_channels(settings: Settings, registry: Registry) -> None:
    for name, channel in settings.channels.items():
        await registry.ensure_channel(name, channel.tenant, shared=channel.shared)


async def base_model(engine: Engine) -> BaseModelInfo:
    """The base model as adapters must match it."""
    info = engine.info
    folder = info.model_folder
    return BaseModelInfo(
        name=info.model,
        fingerprint=info.model_fingerprint,
        max_rank=info.max_lora_rank,
        modules=await asyncio.to_thread(read_modules, folder) if folder else {},
    )
