"""What is done once a day beside the weekly run: files that nobody needs any more go."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy.exc import SQLAlchemyError

from adapters.service import Registry
from feedback.ports import Clock

log = structlog.get_logger()
EVERY_HOURS = 24


def start_housekeeping(registry: Registry, clock: Clock, stack: AsyncExitStack) -> None:
    """Purge now and every day; ends with `stack`."""
    scheduler, at_work = AsyncIOScheduler(timezone=UTC), asyncio.Lock()

    async def purge_alone() -> None:
        async with at_work:
            await purge(registry, clock)

    async def end() -> None:
        """APScheduler would cancel the purge at its query: let it end."""
        scheduler.pause()
        async with at_work:
            scheduler.shutdown(wait=False)

    scheduler.add_job(
        purge_alone,
        "interval",
        hours=EVERY_HOURS,
        next_run_time=datetime.now(UTC),
        max_instances=1,
        coalesce=True,
        misfire_grace_time=None,
    )
    scheduler.start()
    stack.push_async_callback(end)


async def purge(registry: Registry, clock: Clock) -> None:
    """Remove the files of versions whose grace period is over."""
    try:
        await registry.purge(clock())
    except (OSError, SQLAlchemyError) as error:
        log.warning("purge_failed", kind=type(error).__name__)
