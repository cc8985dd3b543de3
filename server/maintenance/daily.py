"""Daily housekeeping: removes expired texts and adapter files, and updates planner statistics."""

from contextlib import AsyncExitStack

import structlog
from sqlalchemy.exc import SQLAlchemyError

from adapters.errors import AdaptersError
from adapters.service import Registry
from common.clock import Clock
from common.periodic import Ticker
from server.database.database import Database
from server.maintenance.retention import Retention

log = structlog.get_logger()
EVERY_SECONDS = 24 * 60 * 60.0


def start_housekeeping(
    registry: Registry,
    retention: Retention,
    database: Database,
    clock: Clock,
    stack: AsyncExitStack,
) -> None:
    """Run housekeeping now and every day, until `stack` closes."""

    async def work() -> None:
        await purge(registry, clock)
        await remove_old_texts(retention)
        await renew_statistics(database)

    ticker = Ticker("housekeeping", EVERY_SECONDS, work)

    async def end() -> None:
        retention.ending.set()  # a running removal stops after its current transaction
        await ticker.finish()

    ticker.start()
    stack.push_async_callback(end)


async def purge(registry: Registry, clock: Clock) -> None:
    """Remove the files of versions whose grace period is over."""
    try:
        await registry.purge(clock())
    except (OSError, SQLAlchemyError, AdaptersError) as error:
        log.warning("purge_failed", kind=type(error).__name__)


async def remove_old_texts(retention: Retention) -> None:
    """Remove expired texts if a retention is set, and report the age of the oldest text."""
    try:
        if retention.wanted:
            await retention.apply()
        else:
            await retention.report_oldest()
    except (OSError, SQLAlchemyError) as error:
        retention.metrics.failed()
        log.warning("retention_failed", kind=type(error).__name__)


async def renew_statistics(database: Database) -> None:
    """Update the statistics of the database's query planner."""
    try:
        await database.renew_statistics()
    except SQLAlchemyError as error:
        log.warning("statistics_failed", kind=type(error).__name__)
