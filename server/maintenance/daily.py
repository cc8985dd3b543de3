"""What is done once a day beside the weekly run: old texts go, and files that nobody needs."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy.exc import SQLAlchemyError

from adapters.errors import AdaptersError
from adapters.service import Registry
from common.clock import Clock
from server.maintenance.retention import Retention

log = structlog.get_logger()
EVERY_HOURS = 24


def start_housekeeping(
    registry: Registry, retention: Retention, clock: Clock, stack: AsyncExitStack
) -> None:
    """Do it now and every day; ends with `stack`."""
    scheduler, at_work = AsyncIOScheduler(timezone=UTC), asyncio.Lock()

    async def work_alone() -> None:
        async with at_work:
            await purge(registry, clock)
            await remove_old_texts(retention)

    async def end() -> None:
        """APScheduler would cancel the work at its query: let it end."""
        scheduler.pause()
        retention.ending.set()
        async with at_work:
            scheduler.shutdown(wait=False)

    scheduler.add_job(
        work_alone,
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
    except (OSError, SQLAlchemyError, AdaptersError) as error:
        log.warning("purge_failed", kind=type(error).__name__)


async def remove_old_texts(retention: Retention) -> None:
    """Remove the texts that are due, if any ever are."""
    try:
        if retention.wanted:
            await retention.apply()
        else:
            await retention.report_oldest()
    except (OSError, SQLAlchemyError) as error:
        retention.metrics.failed()
        log.warning("retention_failed", kind=type(error).__name__)
