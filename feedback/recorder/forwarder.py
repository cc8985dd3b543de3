"""Forwards the spool's rows to the database, oldest first, and decides when the spool is used.

Each batch is first written to the database and then deleted from the spool. After a crash between
the two it is written again, which is idempotent because rows are identified by their ids.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog
from sqlalchemy import Connection, select

from common.clock import Clock
from common.database import Database
from feedback.config import FeedbackConfig
from feedback.errors import RowRejectedError, SpoolUnavailableError
from feedback.ports import RecorderObserver, SpoolObserver
from feedback.recorder.batches import (
    Record,
    in_one_transaction,
    observe_new_feedback,
    reduced,
    split_by_kind,
    written,
)
from feedback.spool.spool import Refused, Spool, SpooledGroup
from feedback.storage.write_plan import Outcome, Stored

BACKPRESSURE_SECONDS = 0.2
"""Longest wait of the recorder, in seconds, after each batch that it wrote to the spool."""
BACKPRESSURE_GROUPS = 2
"""Batches to forward for each batch written to the spool, so that the spool shrinks under load."""

_log = structlog.get_logger()


class Forwarder:
    """Owns the spool. While `behind` is true, new rows must go to the spool too, to keep the order.

    A writer must hold the lock `order` while it reads `behind` and writes its rows.
    """

    def __init__(
        self,
        database: Database,
        spool: Spool,
        config: FeedbackConfig,
        clock: Clock,
        recorded: RecorderObserver,
        observer: SpoolObserver,
    ) -> None:
        self._database = database
        self._spool = spool
        self._config = config
        self._clock = clock
        self._recorded = recorded
        self._observer = observer
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._moved = asyncio.Condition()
        self._groups = 0  # batches forwarded since the last failure
        self.order = asyncio.Lock()
        self.behind = False

    async def start(self) -> None:
        """Open the spool that an earlier process may have left, and start to forward it."""
        try:
            await self._spool.open()
        except SpoolUnavailableError as error:  # does not prevent the start: it is retried
            self._failed(error)
        if self._spool.rows:
            self.behind = True
            _log.warning("spool_left_over", rows=self._spool.rows)
        self._report_size()
        if self.behind or not self._spool.opened:
            self._wake.set()
        self._task = asyncio.create_task(self._forward(), name="forwarder")

    async def close(self) -> None:
        """Stop; the rows left in the spool are forwarded after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
        await self._spool.close()

    def switch_to_spool(self, error: BaseException) -> None:
        """Switch to the spool: the database failed to commit a batch within `database_seconds`."""
        _log.error("database_away", error=type(error).__name__)
        self.behind = True
        self._observer.database_failed()
        self._wake.set()

    async def apply_backpressure(self) -> None:
        """Delay the recorder until `BACKPRESSURE_GROUPS` batches were forwarded.

        Waits at most `BACKPRESSURE_SECONDS`, and not at all while the database is unavailable.
        Without this, a load that is spooled faster than it is forwarded would fill the spool even
        after a short outage.
        """
        wanted = self._groups + BACKPRESSURE_GROUPS
        if not (self.behind and self._groups):
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(BACKPRESSURE_SECONDS), self._moved:
                await self._moved.wait_for(lambda: not 0 < self._groups < wanted)

    async def spool(self, rows: Sequence[Record]) -> list[Outcome]:
        """Write the rows durably to the spool; return outcomes, interactions before feedback."""
        interactions, feedback = split_by_kind(rows)
        outcomes = await self._spool.write(interactions, feedback)
        self._observer.spooled(sum(isinstance(one, Stored) and one.new for one in outcomes))
        self._report_size()
        return outcomes

    async def quarantine(self, rows: Sequence[Record]) -> None:
        """Store rows that the database refused for good in the spool's file, for inspection."""
        refused = [Refused(row, RowRejectedError.__name__) for row in rows]
        try:
            await self._spool.quarantine(refused, self._clock())
        except SpoolUnavailableError as error:  # the rows are lost: nothing else can store them
            self._failed(error)
        for row in refused:
            self._observer.refused(row.reason)

    async def _forward(self) -> None:
        first, pause = self._config.retry_seconds, self._config.retry_seconds
        while True:
            await self._wake.wait()
            try:
                moved = await self._step()
                pause = first
                await self._count_groups(self._groups + moved if self.behind else 0)
            except Exception as error:  # noqa: BLE001 - retry after any error
                self._failed(error)
                await self._count_groups(0)
                await asyncio.sleep(pause)
                pause = min(2 * pause, self._config.retry_seconds_max)
            if not self.behind and self._spool.opened:
                self._wake.clear()

    async def _count_groups(self, groups: int) -> None:
        async with self._moved:
            self._groups = groups
            self._moved.notify_all()

    async def _step(self) -> int:
        """Forward one batch; leave the spool if it was the last. Return how many were forwarded."""
        group = await self._spool.oldest(self._config.group_max)
        if not group.rows:
            await self._database.transaction(_nothing)
            self._observer.database_answered()
        elif not await self._forwarded_last(group):
            self.behind = True
            await self._forward_group(group)
        if self.behind and not self._spool.rows:
            async with self.order:
                self._catch_up()
        return 1 if group.rows else 0

    async def _forwarded_last(self, group: SpooledGroup) -> bool:
        """Forward the last batch while no rows can be added; return whether it was the last.

        Otherwise a steady load would add a batch each time, and the spool would be used as long as
        the load lasts. As new rows wait meanwhile, this is only done if the database has just
        committed a batch, and within `database_seconds`.
        """
        if not self._groups:
            return False
        async with self.order:
            if len(group.rows) < self._spool.rows:
                return False
            await self._forward_group(group, self._config.database_seconds)
            self._catch_up()
        return True

    def _catch_up(self) -> None:
        """Switch back to the database if the spool is empty; the caller holds `order`."""
        if self.behind and not self._spool.rows:
            self.behind = False
            _log.info("database_caught_up")

    async def _forward_group(self, group: SpooledGroup, seconds: float | None = None) -> None:
        """Write the batch to the database, then delete it from the spool.

        Raises `TimeoutError` after `seconds`, if given.
        """
        async with asyncio.timeout(seconds):
            outcomes = await written(group.rows, self._write, _refused)
            await self._write_reduced(group.rows, outcomes)
        self._observer.database_answered()
        refused = [
            Refused(record, type(outcome).__name__)
            for record, outcome in zip(group.rows, outcomes, strict=True)
            if not isinstance(outcome, Stored)
        ]
        await self._spool.forget(group, refused, self._clock())
        self._report(group, outcomes, refused)

    async def _write_reduced(
        self, rows: Sequence[Record], outcomes: Sequence[Outcome | Exception]
    ) -> None:
        """Write the server's own answers that the database refused without their texts."""
        pairs = zip(rows, outcomes, strict=True)
        kept = reduced(row for row, outcome in pairs if isinstance(outcome, RowRejectedError))
        if kept:
            await written(kept, self._write, _refused)

    async def _write(self, rows: Sequence[Record]) -> Sequence[Outcome | Exception]:
        """Write the rows to the database."""
        return await in_one_transaction(self._database, rows)

    def _report(
        self,
        group: SpooledGroup,
        outcomes: Sequence[Outcome | Exception],
        refused: Sequence[Refused],
    ) -> None:
        self._report_size()
        self._observer.forwarded(len(outcomes) - len(refused))
        for row in refused:
            _log.error("spooled_row_refused", row=type(row.record).__name__, reason=row.reason)
            self._observer.refused(row.reason)
        observe_new_feedback(self._recorded, group.rows, outcomes)

    def _report_size(self) -> None:
        self._observer.spool_size(self._spool.rows, self._spool.bytes)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, SpoolUnavailableError):
            _log.error("spool_unusable", error=type(error.__cause__).__name__)
            return
        self._observer.database_failed()
        _log.warning("forwarding_waits", rows=self._spool.rows, error=type(error).__name__)


def _refused(record: Record, error: Exception) -> Outcome | Exception:
    _log.error("row_rejected", row=type(record).__name__, error=type(error).__name__)
    return RowRejectedError(type(error).__name__)


def _nothing(connection: Connection) -> None:
    connection.execute(select(1))
