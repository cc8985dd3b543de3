"""Removes texts older than `feedback.retention_days`, from the log and from run folders."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from pydantic import BaseModel

from common.clock import Clock
from common.database import Database
from feedback.config import FeedbackConfig
from feedback.retention import oldest_text, remove_texts, texts_due
from retrain.retention import remove_texts as remove_run_texts
from retrain.retention import runs_due
from server.errors import RetentionNotSetError
from server.metrics.retention import RetentionMetrics

log = structlog.get_logger()


class RetentionOut(BaseModel):
    """Counts of rows and run folders from before `before` whose texts are or will be removed."""

    before: datetime
    interactions: int
    feedback: int
    runs: int
    oldest_text: datetime | None


@dataclass(frozen=True, slots=True)
class Retention:
    """Applies the retention period. Several servers on one database may do so concurrently.

    `runs` is the folder of this server's runs. Setting `ending` stops a running removal soon; the
    next one continues it.
    """

    database: Database
    runs: Path
    config: FeedbackConfig
    clock: Clock
    metrics: RetentionMetrics
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def wanted(self) -> bool:
        """Whether a retention period is set."""
        return self.config.retention_days is not None

    async def due(self) -> RetentionOut:
        """Count what `apply` would remove; raises `RetentionNotSetError`."""
        before = self._before()
        texts = await texts_due(self.database, before)
        return RetentionOut(
            before=before,
            interactions=texts.interactions,
            feedback=texts.feedback,
            runs=len(await runs_due(self.database, self.runs, before)),
            oldest_text=await self._oldest(),
        )

    async def apply(self) -> RetentionOut:
        """Remove expired texts.

        Raises:
            RetentionNotSetError: If no retention period is set.
            OSError: If a run folder cannot be written.
            SQLAlchemyError: If the database fails.

        """
        before = self._before()
        texts = await remove_texts(
            self.database,
            before,
            self.clock(),
            self.config,
            go_on=lambda: not self.ending.is_set(),
        )
        folders = await runs_due(self.database, self.runs, before)
        for folder in folders:
            await asyncio.to_thread(remove_run_texts, folder, before, self.clock())
        removed = {
            "interactions": texts.interactions,
            "feedback": texts.feedback,
            "runs": len(folders),
        }
        self.metrics.done(removed)
        if any(removed.values()):
            log.info("texts_removed", **removed)
        return RetentionOut(before=before, oldest_text=await self._oldest(), **removed)

    async def report_oldest(self) -> None:
        """Update the metric of the oldest text, which also exists without a retention period."""
        await self._oldest()

    async def _oldest(self) -> datetime | None:
        moment = await oldest_text(self.database)
        self.metrics.show_oldest(moment)
        return moment

    def _before(self) -> datetime:
        if self.config.retention_days is None:
            raise RetentionNotSetError
        return self.clock() - timedelta(days=self.config.retention_days)


def too_short(retention_days: float | None, max_window_days: int) -> str | None:
    """Return a warning if texts are removed before training can use them, else None."""
    if retention_days is None or retention_days >= max_window_days:
        return None
    return (
        f"texts are removed after {retention_days:g} days (feedback.retention_days), training "
        f"looks back {max_window_days} (retrain.max_window_days): it will find fewer texts"
    )
