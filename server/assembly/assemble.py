"""Constructs and starts the services of one app, in the order of their dependencies."""

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import SystemRandom

import structlog
from fastapi import FastAPI
from pawl_client.callback import FeedbackCallback

from adapters.errors import ChannelTakenError, ForeignBaseModelError
from adapters.service import Registry
from adapters.vetting.base_model import BaseModelInfo, read_modules, renamed_tensors
from adapters.vetting.base_norms import BaseNorms
from adapters.vetting.families import read_family
from common.clock import Clock
from feedback.feedback_tokens import FeedbackTokens
from feedback.ids import InteractionIds
from feedback.recorder.recorder import Recorder
from feedback.service import FeedbackService
from retrain.run.context import RunEnvironment
from server.adapter_store import open_store
from server.assembly.cluster import follow, identity
from server.assembly.runs import begin_runs, make_runs
from server.database.database import Database
from server.engine.base import Engine
from server.engine.config import EngineConfig
from server.errors import SetupError
from server.maintenance.daily import start_housekeeping
from server.maintenance.nan_quarantine import count_earlier, start_nan_quarantine
from server.maintenance.retention import Retention, too_short
from server.metrics.metrics import Metrics
from server.services import Services
from server.serving.answering import AnsweringService
from server.serving.comparisons import Comparisons
from server.serving.drain import Drain
from server.serving.shadow import Shadow
from server.settings import Settings
from server.startup.data_lock import DataLock, RunningServer
from server.startup.deferred import DeferredStartup, Work
from server.startup.last_known_writer import LastKnownWriter
from server.startup.opening import StartupState, open_recorder
from server.startup.preflight import check_settings

log = structlog.get_logger()

BASE_NORMS_FILE = "base_norms.json"

StartEngine = Callable[[EngineConfig], Awaitable[Engine]]


async def assemble(app: FastAPI, stack: AsyncExitStack) -> Services:
    """Start all services and return them; `stack` shuts them down in reverse order.

    Raises:
        SetupError: If the settings do not allow a start.
        EngineStartError: If the engine cannot start.

    """
    settings: Settings = app.state.settings
    clock, metrics, token = app.state.clock, Metrics(), secrets.token_urlsafe(32)
    if not app.state.offline:
        await check_settings(settings)
    lock = DataLock(settings.data_dir).acquire()
    stack.callback(lock.release)
    opening = StartupState(app, stack, metrics, token)
    await opening.open()
    database = opening.database
    engine = await app.state.start_engine(settings.engine)
    stack.push_async_callback(engine.close)
    base = await base_model(engine, settings.data_dir)
    store = open_store(settings)
    registry = Registry(
        database,
        engine,
        store,
        clock,
        settings.adapters,
        base,
        metrics.adapters,
        me=identity(app, database.url, base, lock.predecessor()),
        cluster_observer=metrics.cluster,
    )
    metrics.cluster.age_from(lambda: registry.route_age_seconds)
    stack.push_async_callback(registry.close)
    if opening.known is None:
        await _open_registry(app, registry)
    else:
        known = opening.known
        await registry.start_without_database(known.route_views(), known.version_rows())
    metrics.expect(registry.routes())
    start_nan_quarantine(engine, registry, metrics.adapters, stack)
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
        load=serving.shadow.load,
        token=token,
        stack=stack,
    )
    retention = _retention(settings, database, clock, metrics)
    deferred = DeferredStartup()
    stack.push_async_callback(deferred.close)
    services = Services(
        settings=settings,
        clock=clock,
        database=database,
        forwarder=forwarder,
        deferred=deferred,
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
        retention=retention,
    )
    if not app.state.offline:
        deferred.work = _deferred_work(app, opening, services, world)
        await (deferred.now() if opening.known is None else deferred.later(opening.prepare))
        note = RunningServer(app.state.url, token, os.getpid(), registry.server_id)
        lock.announce(note)
    return services


def _deferred_work(
    app: FastAPI, opening: StartupState, services: Services, world: RunEnvironment
) -> Work:
    """Return the last part of startup, which needs the database."""
    settings, registry = services.settings, services.registry

    async def work(stack: AsyncExitStack) -> None:
        if opening.known is not None:
            await registry.join()
            await _ensure_channels(settings, registry)
            services.metrics.expect(registry.routes())
        last_known_writer = LastKnownWriter(
            settings.data_dir, opening.name, opening.secret, opening.keys, registry
        )
        last_known_writer.start()
        stack.push_async_callback(last_known_writer.close)
        await count_earlier(registry, services.metrics.adapters)
        await begin_runs(services.runs, world, stack)
        start_housekeeping(registry, services.retention, services.database, app.state.clock, stack)
        follow(registry, opening.keys, opening.database.url, services.drain, stack)

    return work


def _serving(  # noqa: PLR0913  (its parts)
    app: FastAPI,
    stack: AsyncExitStack,
    *,
    engine: Engine,
    registry: Registry,
    recorder: Recorder,
    ids: InteractionIds,
    drain: Drain,
    metrics: Metrics,
) -> AnsweringService:
    """Construct the answering service and its shadow."""
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
    return AnsweringService(
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


def _retention(settings: Settings, database: Database, clock: Clock, metrics: Metrics) -> Retention:
    warning = too_short(settings.feedback.retention_days, settings.retrain.max_window_days)
    if warning is not None:
        log.warning("retention_is_short", reason=warning)
    runs = settings.data_dir / "runs"
    return Retention(database, runs, settings.feedback, clock, metrics.retention)


async def _open_registry(app: FastAPI, registry: Registry) -> None:
    try:
        await (registry.read_routes() if app.state.offline else registry.start())
    except ForeignBaseModelError as error:
        raise SetupError(f"engine.model: {error}") from None
    except ChannelTakenError:
        raise SetupError(
            "adapters.tenant: the channel of adapters.channel belongs to another tenant, for good: "
            "name that tenant, or another channel"
        ) from None
    await _ensure_channels(app.state.settings, registry)


async def _ensure_channels(settings: Settings, registry: Registry) -> None:
    for name, channel in settings.channels.items():
        try:
            await registry.ensure_channel(name, channel.tenant, shared=channel.shared)
        except ChannelTakenError:
            raise SetupError(
                f"channels.{name}.tenant: the channel belongs to another tenant, for good: name "
                "that tenant, or another channel"
            ) from None


async def base_model(engine: Engine, data_dir: Path) -> BaseModelInfo:
    """Describe the base model for vetting adapters; its weight norms are cached in `data_dir`."""
    info = engine.info
    folder = info.model_folder
    return BaseModelInfo(
        name=info.model,
        fingerprint=info.model_fingerprint,
        max_rank=info.max_lora_rank,
        modules=await asyncio.to_thread(read_modules, folder) if folder else {},
        dtype=info.adapter_dtype,
        norms=BaseNorms(
            folder,
            info.model_fingerprint,
            data_dir / BASE_NORMS_FILE,
            await asyncio.to_thread(renamed_tensors, folder) if folder else {},
        ),
        family=await asyncio.to_thread(read_family, folder) if folder else None,
    )
