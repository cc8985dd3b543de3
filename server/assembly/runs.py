"""Constructs the service of weekly runs, and starts its scheduler."""

from contextlib import AsyncExitStack
from functools import partial

import httpx
from fastapi import FastAPI

from adapters.service import Registry
from adapters.store.artifacts import Artifacts, fetched
from adapters.vetting.base_model import BaseModelInfo
from retrain.errors import JudgeError
from retrain.evaluation.judges import Judge, load_judge
from retrain.evaluation.next_message import load_reader
from retrain.launchers.local import SubprocessLauncher
from retrain.ports import MessageReader
from retrain.preflight import OWN_JUDGES
from retrain.run.context import RunEnvironment
from retrain.schedule import Schedule
from retrain.service import RunService
from server.assembly.evaluation_chat import InternalChat, YieldingChat
from server.database.database import Database
from server.engine.fingerprint import fingerprint_on_disk
from server.errors import SetupError
from server.metrics.metrics import Metrics
from server.serving.user_load import UserLoad
from server.settings import Settings


async def make_runs(  # noqa: PLR0913  (all of them are its parts)
    app: FastAPI,
    *,
    database: Database,
    registry: Registry,
    store: Artifacts,
    base: BaseModelInfo,
    metrics: Metrics,
    load: UserLoad,
    token: str,
    stack: AsyncExitStack,
) -> tuple[RunService, RunEnvironment]:
    """Return the service, which is not started yet, and its environment."""
    settings: Settings = app.state.settings
    chat, apart = InternalChat(app, token), InternalChat(app, token, "counterpart")
    for one in (chat, apart):
        stack.push_async_callback(one.close)
    world = RunEnvironment(
        database=database,
        registry=registry,
        adapter_path=partial(fetched, store),
        chat=chat,
        counterpart_chat=YieldingChat(apart, load.until_light),
        judge=await _judge(settings, stack, offline=app.state.offline),
        launcher=SubprocessLauncher(settings.retrain.trainer),
        config=settings.retrain,
        base=base,
        clock=app.state.clock,
        observer=metrics.runs,
        folder=settings.data_dir / "runs",
        chat_template=settings.engine.chat_template,
        base_on_disk=partial(fingerprint_on_disk, settings.engine),
        metrics=settings.feedback.metrics,
        alone=database.url.get_backend_name() == "sqlite",
        reader=await _reader(settings, stack, offline=app.state.offline),
    )
    return RunService(world), world


async def begin_runs(service: RunService, world: RunEnvironment, stack: AsyncExitStack) -> None:
    """Resume interrupted runs and start the scheduler, until `stack` closes."""
    stack.push_async_callback(service.close)
    await service.start()
    schedule = Schedule(service, world.runs, world.config, world.clock)
    schedule.start()
    stack.push_async_callback(schedule.finish)


async def _judge(settings: Settings, stack: AsyncExitStack, *, offline: bool) -> Judge | None:
    """Load the judge that the settings name; with `offline` a judge that fails to load is None.

    `"people"` is None, too: each run trains that judge itself.
    """
    spec = settings.retrain.judge
    if spec is None or spec in OWN_JUDGES:
        return None
    client = await stack.enter_async_context(httpx.AsyncClient())
    try:
        return load_judge(spec, client)
    except JudgeError as error:
        if offline:
            return None
        raise SetupError(f"retrain.judge: {error}") from error


async def _reader(
    settings: Settings, stack: AsyncExitStack, *, offline: bool
) -> MessageReader | None:
    """Load the reader of next messages, if they are used; `offline` as in `_judge`."""
    if not settings.retrain.signals.next_message:
        return None
    client = await stack.enter_async_context(httpx.AsyncClient())
    try:
        return load_reader(settings.retrain, client)
    except JudgeError as error:
        if offline:
            return None
        raise SetupError(f"retrain.signals.reader: {error}") from error
