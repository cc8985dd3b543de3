"""What is done when an answer had no finite logits: its version goes, the engine is started again.

The NaN is in the engine's cache, which nothing but a new engine process clears: vLLM 0.32 neither
overwrites freed blocks nor has a call that zeroes them. The version is taken out of the routes
first, so that the next start does not load it.
"""

import asyncio
from contextlib import AsyncExitStack, suppress

import structlog
from sqlalchemy.exc import SQLAlchemyError

from adapters.errors import AdaptersError
from adapters.service import Registry
from server.engine.base import Engine
from server.metrics.registry import RegistryMetrics

ACTOR = "nan-alarm"
REASON = (
    "its answers had no finite logits (NaN): a diverged training or a wrong lora_alpha; "
    "train again with a lower learning rate"
)
PATIENCE_SECONDS = 5.0
"""How long the database may take; then the engine is ended all the same, for everybody else's
sake, and the alarm is raised again if the version is asked again."""

log = structlog.get_logger()


def start_nan_quarantine(
    engine: Engine, registry: Registry, metrics: RegistryMetrics, stack: AsyncExitStack
) -> None:
    """Wait for the alarm in the background, until `stack` ends."""
    task = asyncio.create_task(act_on_alarm(engine, registry, metrics), name="nan quarantine")

    async def end() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)


async def act_on_alarm(engine: Engine, registry: Registry, metrics: RegistryMetrics) -> None:
    """Once the alarm is raised: quarantine who is to blame, then kill the engine."""
    versions = await engine.nan_alarm.wait()
    log.error("answers_not_finite", versions=sorted(versions))
    for version in sorted(versions):
        await _quarantine(version, registry, metrics)
    engine.kill()


async def _quarantine(version: str, registry: Registry, metrics: RegistryMetrics) -> None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            if await registry.quarantine(version, actor=ACTOR, reason=REASON):
                metrics.quarantined()
                log.error("adapter_quarantined", version=version)
    except (AdaptersError, SQLAlchemyError, OSError) as error:  # TimeoutError is an OSError
        log.error("adapter_not_quarantined", version=version, error=type(error).__name__)  # noqa: TRY400  (a traceback tells no more)


async def count_earlier(registry: Registry, metrics: RegistryMetrics) -> None:
    """Show the quarantines so far: each ends the process that would have shown it."""
    metrics.quarantined(await registry.count_events(ACTOR))
