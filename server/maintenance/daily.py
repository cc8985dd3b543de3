"""Daily housekeeping.

Texts past their retention and files of retired versions are removed, and the database's planner
looks at what the tables hold now.
"""

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
    """Do it now and every day, until `stack` ends."""

    async def work() -> None:
        await purge(registry, clock)
        await remove_old_texts(retention)
        await renew_statistics(database)

    ticker = Ticker("housekeeping", EVERY_SECONDS, work)

    async def end() -> None:
        retention.ending.set()  # the removal under way ends with its transaction
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
    """Remove the texts that are due, if any ever are."""
    try:
        if retention.wanted:
            await retention.apply()
        else:
            await retention.report_oldest()
    except (OSError, SQLAlchemyError) as error:
        retention.metrics.failed()
        log.warning("retention_failed", kind=type(error).__name__)


async def renew_statistics(database: Database) -> None:
    """Let the database's planner know the tables as they are now."""
    try:
        await database.renew_statistics()
    except SQLAlchemyError as error:
        log.warning("statistics_failed", kind=type(error).__name__)
