"""The way into the log: rows wait in a bounded queue, one task writes them in groups.

A group shares one transaction and so one sync; a row's future ends when its group is durable. While
the database is away the rows stay queued. A row that the database refuses fails alone.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import structlog
from sqlalchemy.exc import IntegrityError, InternalError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from feedback.config import FeedbackConfig
from feedback.errors import (
    RecorderClosedError,
    RecorderFullError,
    RowRejectedError,
    StoreUnavailableError,
)
from feedback.ports import Database, RecorderObserver
from feedback.records import FeedbackRecord, InteractionRecord
from feedback.repository import write_feedback, write_interactions
from feedback.upserts import EXTERNAL, Outcome, Stored

_log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Waiting:
    row: InteractionRecord | FeedbackRecord
    future: asyncio.Future[Any]

    @property
    def withdrawn(self) -> bool:
        """Whether its sender gave up; what the server itself answered is written all the same."""
        ours = isinstance(self.row, InteractionRecord) and self.row.mode != EXTERNAL
        return self.future.cancelled() and not ours


class Recorder:
    """One writer per process. All methods belong to the event loop that called `start`."""

    def __init__(
        self, database: Database, config: FeedbackConfig, observer: RecorderObserver
    ) -> None:
        self._database = database
        self._config = config
        self._observer = observer
        self._queue: deque[_Waiting] = deque()
        self._writing: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._open = False

    @property
    def depth(self) -> int:
        """Rows that wait or are being written."""
        return len(self._queue) + len(self._writing)

    async def start(self) -> None:
        """Begin to write."""
        if self._task is None:
            self._open = True
            self._task = asyncio.create_task(self._write(), name="recorder")

    async def close(self) -> None:
        """Take no more rows and write those that wait, for at most `close_seconds`.

        What is then still unwritten fails with `StoreUnavailableError`, and is counted.
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

        The future ends with `upserts.Stored` when the row is durable. It fails with
        `RecorderFullError`, `RecorderClosedError` or `RowRejectedError`, which need not be read.
        """
        return self._enqueue(record)

    def store(self, record: FeedbackRecord) -> asyncio.Future[Stored]:
        """Queue a judgement; as `record`.

        It also fails with `ConflictError` for an id that is taken, and with `InvalidInputError` for
        what does not fit the answers in the log. Cancelling the future withdraws the row, unless it
        is being written already.
        """
        return self._enqueue(record)

    def _enqueue(self, row: InteractionRecord | FeedbackRecord) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_mark_as_read)
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
            if not self._open:
                return
            self._wake.clear()

    async def _settle(self, group: list[_Waiting]) -> None:
        """Write the group; on a refusal write its halves, until the refused row stands alone."""
        try:
            outcomes = await self._write_patiently(group)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the writer
            if len(group) == 1:
                self._reject(group[0], error)
                return
            middle = len(group) // 2
            await self._settle(group[:middle])
            await self._settle(group[middle:])
        else:
            self._resolve(outcomes)

    async def _write_patiently(self, group: list[_Waiting]) -> list[tuple[_Waiting, Outcome]]:
        """Write the group, waiting as long as it takes for a database that is away or locked."""
        pause, refused = self._config.retry_seconds, False
        while True:
            wanted = [waiting for waiting in group if not waiting.withdrawn]
            try:
                return await self._transaction(wanted)
            except IntegrityError:
                if refused:
                    raise
                refused = True  # another server may have written a row since it was looked for
                continue
            except Exception as error:
                if not is_outage(error):
                    raise
                self._observer.retried(len(wanted))
                _log.warning("recorder_retries", rows=len(wanted), error=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._config.retry_seconds_max)

    async def _transaction(self, group: Sequence[_Waiting]) -> list[tuple[_Waiting, Outcome]]:
        if not group:
            return []
        asked: list[tuple[_Waiting, InteractionRecord]] = []
        judged: list[tuple[_Waiting, FeedbackRecord]] = []
        for waiting in group:
            if isinstance(waiting.row, InteractionRecord):
                asked.append((waiting, waiting.row))
            else:
                judged.append((waiting, waiting.row))
        started = perf_counter()
        outcomes = await self._database.transaction(
            lambda connection: [
                *write_interactions(connection, [record for _, record in asked]),
                *write_feedback(connection, [record for _, record in judged]),
            ]
        )
        self._observer.committed(len(group), perf_counter() - started)
        waiters = [waiting for waiting, _ in (*asked, *judged)]
        return list(zip(waiters, outcomes, strict=True))

    def _resolve(self, outcomes: Sequence[tuple[_Waiting, Outcome]]) -> None:
        for waiting, outcome in outcomes:
            if isinstance(outcome, Stored):
                if not waiting.future.done():  # whoever waited may have cancelled it
                    waiting.future.set_result(outcome)
                if outcome.new and isinstance(waiting.row, FeedbackRecord):
                    self._observer.feedback_stored(waiting.row.metric_name, outcome.version)
            else:
                _fail_future(waiting.future, outcome)

    def _reject(self, waiting: _Waiting, error: Exception) -> None:
        _log.error("row_rejected", row=type(waiting.row).__name__, error=type(error).__name__)
        self._fail([waiting], RowRejectedError(type(error).__name__))

    def _fail(self, group: Sequence[_Waiting], error: Exception) -> None:
        for waiting in group:
            _fail_future(waiting.future, error)
        if group:
            self._observer.failed(len(group), type(error).__name__)


def is_outage(error: Exception) -> bool:
    """Whether the database is to blame and the same row may succeed later."""
    if isinstance(error, OperationalError | InternalError | PoolTimeoutError | OSError):
        return True
    return isinstance(error, StatementError) and getattr(error, "connection_invalidated", False)


def _fail_future(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _mark_as_read(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
