"""The log's writer: rows wait in a bounded queue, and one task writes them in batches.

A batch is one transaction. A row's future completes when its batch is durable: in the database or,
while that is unavailable or behind, in the spool. If neither accepts a batch, the server's own
answers wait in the queue, while rows whose senders wait (feedback, reports) are refused at once. A
row that the database refuses fails alone.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import structlog

from common.database import Database
from feedback.config import FeedbackConfig
from feedback.errors import (
    RecorderClosedError,
    RecorderFullError,
    RowRejectedError,
    StoreUnavailableError,
)
from feedback.ports import RecorderObserver
from feedback.recorder.batches import (
    Record,
    in_one_transaction,
    observe_new_feedback,
    reduced,
    written,
)
from feedback.recorder.forwarder import Forwarder
from feedback.records import FeedbackRecord, InteractionRecord
from feedback.storage.database_errors import is_outage
from feedback.storage.write_plan import EXTERNAL, Outcome, Stored

_log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Waiting:
    row: Record
    future: asyncio.Future[Any]

    @property
    def ours(self) -> bool:
        """Whether the server itself gave the answer: it is written even if nobody waits for it."""
        return isinstance(self.row, InteractionRecord) and self.row.mode != EXTERNAL

    @property
    def withdrawn(self) -> bool:
        """Whether its sender has cancelled it, or was refused."""
        return self.future.done() and not self.ours


_Settled = tuple[_Waiting, Outcome | Exception]


class Recorder:
    """One writer per process. All methods belong to the event loop that called `start`."""

    def __init__(
        self,
        database: Database,
        config: FeedbackConfig,
        observer: RecorderObserver,
        forwarder: Forwarder | None = None,
    ) -> None:
        """Without a `forwarder` there is no spool: rows wait for the database in the queue."""
        self._database = database
        self._config = config
        self._observer = observer
        self._forwarder = forwarder
        self._queue: deque[_Waiting] = deque()
        self._writing: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._open = False

    @property
    def depth(self) -> int:
        """Rows in the queue, including those being written."""
        return len(self._queue) + len(self._writing)

    @property
    def behind(self) -> bool:
        """Whether durable rows may still be in the spool only."""
        return self._forwarder is not None and self._forwarder.behind

    async def start(self) -> None:
        """Start the writer."""
        if self._task is None:
            self._open = True
            self._task = asyncio.create_task(self._write(), name="recorder")

    async def close(self) -> None:
        """Accept no more rows and write the queue, for at most `close_seconds`.

        Rows that are still unwritten then fail with `StoreUnavailableError` and are counted.
        """
        self._open = False
        self._wake.set()
        if self._task is None:
            return
        await asyncio.wait({self._task}, timeout=self._config.close_seconds)
        self._task.cancel()
        await asyncio.wait({self._task})
        self._task = None
        rows = [*self._writing, *self._queue]
        unwritten = [row for row in rows if row.future.cancelled() or not row.future.done()]
        self._fail(unwritten, StoreUnavailableError())
        self._writing = []
        self._queue.clear()

    def record(self, record: InteractionRecord) -> asyncio.Future[Any]:
        """Queue an interaction. Never blocks and never raises.

        The future returns a `Stored` once the row is durable. It fails with `RecorderFullError`,
        `RecorderClosedError` or `RowRejectedError`; the exception need not be retrieved.
        """
        return self._enqueue(record)

    def store(self, record: FeedbackRecord) -> asyncio.Future[Stored]:
        """Queue a judgement, as `record` does.

        The future also fails with `ConflictError` if the id is used, and with `InvalidInputError`
        if the judgement does not match the answers in the log. Cancelling it withdraws the row,
        unless it is being written already.
        """
        return self._enqueue(record)

    def _enqueue(self, row: InteractionRecord | FeedbackRecord) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_retrieve_exception)
        waiting = _Waiting(row, future)
        if not self._open:
            self._fail([waiting], RecorderClosedError())
        elif self.depth >= self._config.queue_max:
            self._fail([waiting], RecorderFullError())
        else:
            self._queue.append(waiting)
            self._wake.set()
            self._observer.queue_depth(self.depth)
        return future

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            while self._queue:
                size = min(len(self._queue), self._config.group_max)
                self._writing = [self._queue.popleft() for _ in range(size)]
                await self._settle(self._writing)
                self._writing = []
                self._observer.queue_depth(self.depth)
                if self._forwarder is not None:
                    await self._forwarder.apply_backpressure()
            if not self._open:
                return
            self._wake.clear()

    async def _settle(self, group: list[_Waiting]) -> None:
        """Write the batch; retry until the database or the spool accepts it."""
        pause = self._config.retry_seconds
        while True:
            wanted = [waiting for waiting in group if not waiting.withdrawn]
            try:
                settled = await written(wanted, self._write_group, _refused) if wanted else []
                self._resolve(settled)
                await self._keep_refused(settled)
            except Exception as error:  # noqa: BLE001 - no error may stop the writer
                self._observer.retried(len(wanted))
                _log.warning("recorder_retries", rows=len(wanted), error=type(error).__name__)
            else:
                return
            if self._forwarder is not None:
                self._refuse_waiting_senders(group)
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._config.retry_seconds_max)

    async def _keep_refused(self, settled: Sequence[_Settled]) -> None:
        """Quarantine refused rows, and write the server's own answers without their texts."""
        rows = [waiting.row for waiting, outcome in settled if _is_refusal(outcome)]
        if self._forwarder is not None and rows:
            await self._forwarder.quarantine(rows)
        kept = [self._entry(row) for row in reduced(rows)]
        if kept:
            await written(kept, self._write_group, _refused)

    def _entry(self, row: Record) -> _Waiting:
        return _Waiting(row, asyncio.get_running_loop().create_future())

    async def _write_group(self, group: Sequence[_Waiting]) -> list[_Settled]:
        """Write to the database or, while that is unavailable or behind, to the spool."""
        if self._forwarder is None:
            return await self._to_database(group)
        async with self._forwarder.order:
            if not self._forwarder.behind:
                try:
                    async with asyncio.timeout(self._config.database_seconds):
                        return await self._to_database(group)
                except Exception as error:
                    if not is_outage(error):
                        raise
                    # The commit may have succeeded; writing the rows again is idempotent.
                    self._forwarder.switch_to_spool(error)
            group = _in_order(group)
            outcomes = await self._forwarder.spool([waiting.row for waiting in group])
            return list(zip(group, outcomes, strict=True))

    async def _to_database(self, group: Sequence[_Waiting]) -> list[_Settled]:
        group = _in_order(group)
        rows = [waiting.row for waiting in group]
        started = perf_counter()
        outcomes = await in_one_transaction(self._database, rows)
        self._observer.committed(len(group), perf_counter() - started)
        observe_new_feedback(self._observer, rows, outcomes)
        return list(zip(group, outcomes, strict=True))

    def _refuse_waiting_senders(self, group: Sequence[_Waiting]) -> None:
        """Fail the rows whose senders wait: they could not be made durable."""
        rows = [*group, *self._queue]
        refused = [one for one in rows if not (one.ours or one.future.done())]
        self._fail(refused, StoreUnavailableError())
        self._queue = deque(one for one in self._queue if not one.withdrawn)

    def _resolve(self, outcomes: Sequence[_Settled]) -> None:
        for waiting, outcome in outcomes:
            if isinstance(outcome, Stored):
                if not waiting.future.done():  # its sender may have cancelled it
                    waiting.future.set_result(outcome)
            elif isinstance(outcome, RowRejectedError):
                self._fail([waiting], outcome)
            else:
                _fail_future(waiting.future, outcome)

    def _fail(self, group: Sequence[_Waiting], error: Exception) -> None:
        for waiting in group:
            _fail_future(waiting.future, error)
        if group:
            self._observer.failed(len(group), type(error).__name__)


def _in_order(group: Sequence[_Waiting]) -> list[_Waiting]:
    """Sort interactions before feedback, because judgements are checked against them."""
    return sorted(group, key=lambda waiting: isinstance(waiting.row, FeedbackRecord))


def _refused(waiting: _Waiting, error: Exception) -> _Settled:
    _log.error("row_rejected", row=type(waiting.row).__name__, error=type(error).__name__)
    return waiting, RowRejectedError(type(error).__name__)


def _is_refusal(outcome: Outcome | Exception) -> bool:
    return isinstance(outcome, RowRejectedError)


def _fail_future(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _retrieve_exception(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
