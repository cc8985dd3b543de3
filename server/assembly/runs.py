"""Puts the weekly run together, and starts its scheduler."""

from contextlib import AsyncExitStack
from functools import partial

import httpx
from fastapi import FastAPI

from adapters.service import Registry
from adapters.store.artifacts import Artifacts, fetched
from adapters.vetting.base_model import BaseModelInfo
from retrain.evaluation.judges import Judge, JudgeError, load_judge
from retrain.launchers.local import SubprocessLauncher
from retrain.run.context import RunEnvironment
from retrain.schedule import Schedule
from retrain.service import RunService
from server.assembly.evaluation_chat import InternalChat
from server.database.database import Database
from server.engine.fingerprint import fingerprint_on_disk
from server.errors import SetupError
from server.metrics.metrics import Metrics
from server.settings import Settings


async def make_runs(  # noqa: PLR0913  (all of them are its parts)
    app: FastAPI,
    *,
    database: Database,
    registry: Registry,
    store: Artifacts,
    base: BaseModelInfo,
    metrics: Metrics,
    token: str,
    stack: AsyncExitStack,
) -> tuple[RunService, RunEnvironment]:
    """The service, which starts nothing by itself, and what it works with."""
    settings: Settings = app.state.settings
    chat = InternalChat(app, token)
    stack.push_async_callback(chat.close)
    world = RunEnvironment(
        database=database,
        registry=registry,
        adapter_path=partial(fetched, store),
        chat=chat,
        judge=await _judge(settings, stack, offline=app.state.offline),
        launcher=SubprocessLauncher(settings.retrain.trainer),
        config=settings.retrain,
        base=base,
        clock=app.state.clock,
        observer=metrics.runs,
        folder=settings.data_dir / "runs",
        chat_template=settings.engine.chat_template,
        base_on_disk=partial(fingerprint_on_disk, settings.engine),
        alone=database.url.get_backend_name() == "sqlite",
    )
    return RunService(world), world


async def begin_runs(service: RunService, world: RunEnvironment, stack: AsyncExitStack) -> None:
    """Take up runs that were left over, and let the scheduler tick, until `stack` ends."""
    stack.push_async_callback(service.close)
    await service.start()
    schedule = Schedule(service, world.runs, world.config, world.clock)
    schedule.start()
    stack.push_async_callback(schedule.finish)


async def _judge(settings: Settings, stack: AsyncExitStack, *, offline: bool) -> Judge | None:
    """The judge of the settings; the command line works without one that cannot be loaded."""
    if settings.retrain.judge is None:
        return None
    client = await stack.enter_async_context(httpx.AsyncClient())
    try:
        return load_judge(settings.retrain.judge, client)
    except JudgeError as error:
        if offline:
            return None
        raise SetupError(f"retrain.judge: {error}") from error
