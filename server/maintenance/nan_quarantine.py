"""Reacts to answers with NaN logits: quarantines the version, then restarts the engine.

The NaN stays in the engine's KV cache, which only a new engine process clears: vLLM 0.32 neither
overwrites freed blocks nor has a call that zeroes them. The version is removed from the routes
first, so that the next start does not load it. The restart can go once vLLM clears freed blocks.
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
"""Seconds that the quarantine may take. After that the engine is killed anyway, because every other
version is affected too; the alarm is raised again if the version answers again."""

log = structlog.get_logger()


def start_nan_quarantine(
    engine: Engine, registry: Registry, metrics: RegistryMetrics, stack: AsyncExitStack
) -> None:
    """Wait for the alarm in the background, until `stack` closes."""
    task = asyncio.create_task(act_on_alarm(engine, registry, metrics), name="nan quarantine")

    async def end() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)


async def act_on_alarm(engine: Engine, registry: Registry, metrics: RegistryMetrics) -> None:
    """Wait for the alarm, quarantine the versions that caused it, then kill the engine."""
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
        log.error("adapter_not_quarantined", version=version, error=type(error).__name__)  # noqa: TRY400  (a traceback adds nothing)


async def count_earlier(registry: Registry, metrics: RegistryMetrics) -> None:
    """Add earlier quarantines to the metric: each one ends the process that counts it."""
    metrics.quarantined(await registry.count_events(ACTOR))
