"""The spool: a local SQLite file that buffers rows while the database is unavailable.

It has the same tables as the log, written by the same functions, and syncs each commit
(`synchronous=FULL`). Rows are deleted once they are in the database. Rows that the database refused
for good are kept as JSON in the table `refused`, for inspection.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from common.files import sync
from feedback.errors import SpoolUnavailableError
from feedback.records import FeedbackRecord, InteractionRecord
from feedback.spool.file import SpoolFile, is_full
from feedback.spool.tables import delete_rows, quarantine, read_oldest, write_rows
from feedback.storage.database_errors import is_outage
from feedback.storage.write_plan import Outcome, Stored

Result = TypeVar("Result")

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SpooledGroup:
    """The oldest rows of the spool, in the order in which to write them."""

    interactions: list[InteractionRecord] = field(default_factory=list)
    feedback: list[FeedbackRecord] = field(default_factory=list)

    @property
    def rows(self) -> list[InteractionRecord | FeedbackRecord]:
        """All rows, interactions first."""
        return [*self.interactions, *self.feedback]


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that the database refused for good, and the class name of the error."""

    record: InteractionRecord | FeedbackRecord
    reason: str


class Spool:
    """Reads and writes the file in its own thread.

    Methods raise `SpoolUnavailableError`, or SQLite's error for a row that it refuses. The file is
    created with the first row and grows up to `bytes_max`.
    """

    def __init__(self, path: Path, bytes_max: int) -> None:
        self._path = path
        self._file = SpoolFile(path, bytes_max)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pawl-spool")
        self._rewritten: set[str] = set()  # interactions written since `oldest`
        self._opened = False
        self.rows = 0
        """Rows to forward to the database."""
        self.bytes = 0
        """Bytes in use, without free pages."""

    @property
    def opened(self) -> bool:
        """Whether the rows that an earlier process left have been counted."""
        return self._opened

    async def open(self) -> None:
        """Count the rows that an earlier process left; a damaged file is renamed."""
        await self._in_thread(self._open)

    async def close(self) -> None:
        """Close the file after the write in progress."""
        await asyncio.to_thread(self._thread.shutdown)
        self._file.close()

    async def write(
        self, interactions: Sequence[InteractionRecord], feedback: Sequence[FeedbackRecord]
    ) -> list[Outcome]:
        """Write the rows in one transaction; an outcome for each, in order, once it is durable."""
        return await self._in_thread(lambda: self._write(interactions, feedback))

    async def oldest(self, count: int) -> SpooledGroup:
        """Return up to `count` of the oldest rows."""
        return await self._in_thread(lambda: self._oldest(count))

    async def forget(self, group: SpooledGroup, refused: Sequence[Refused], at: datetime) -> None:
        """Delete the rows of `group`, and move those in `refused` to the table `refused`.

        An interaction that was written again since `oldest` is kept and forwarded again.
        """
        await self._in_thread(lambda: self._forget(group, refused, at))

    async def quarantine(self, refused: Sequence[Refused], at: datetime) -> None:
        """Store rows that the database refused for good and that were not in the spool."""
        await self._in_thread(lambda: self._quarantine(refused, at))

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, _run, work)

    def _open(self) -> None:
        if not self._opened and self._path.exists():
            _private_folder(self._path.parent)
            self._file.check()
            self._transact(lambda _: None)
        self._opened = True

    def _write(
        self, interactions: Sequence[InteractionRecord], feedback: Sequence[FeedbackRecord]
    ) -> list[Outcome]:
        self._open()
        _private_folder(self._path.parent)
        outcomes = self._transact(lambda at: write_rows(at, interactions, feedback))
        settled = outcomes[: len(interactions)]
        self._rewritten.update(one.id for one in settled if isinstance(one, Stored))
        return outcomes

    def _oldest(self, count: int) -> SpooledGroup:
        self._open()
        if not self.rows:
            return SpooledGroup()
        self._rewritten.clear()
        return SpooledGroup(*self._transact(lambda at: read_oldest(at, count)))

    def _forget(self, group: SpooledGroup, refused: Sequence[Refused], at: datetime) -> None:
        gone = self._unchanged(group.interactions)

        def work(connection: Connection, kept: Sequence[Refused]) -> None:
            delete_rows(
                connection, gone, group.feedback
            )  # first, because a full file has no room otherwise
            for row in kept:
                quarantine(connection, row.record, row.reason, at)

        try:
            self._transact(lambda at: work(at, refused))
        except OperationalError as error:
            if not (refused and is_full(error)):
                raise
            self._transact(lambda at: work(at, ()))
            _log.error("refused_rows_not_kept", rows=len(refused))
        if not self.rows:
            self._file.shrink()

    def _quarantine(self, refused: Sequence[Refused], at: datetime) -> None:
        def work(connection: Connection) -> None:
            for row in refused:
                quarantine(connection, row.record, row.reason, at)

        self._open()
        _private_folder(self._path.parent)
        self._transact(work)

    def _unchanged(self, interactions: Sequence[InteractionRecord]) -> Collection[str]:
        return {record.id for record in interactions} - self._rewritten

    def _transact(self, work: Callable[[Connection], Result]) -> Result:
        result, size = self._file.transact(work)
        self.rows, self.bytes = size
        return result


def _run(work: Callable[[], Result]) -> Result:
    """Run `work`; convert outages of the file to `SpoolUnavailableError`."""
    try:
        return work()
    except Exception as error:
        if is_outage(error):
            raise SpoolUnavailableError from error
        raise


def _private_folder(folder: Path) -> None:
    """Create the folder with mode 0700, synced to disk."""
    if folder.exists():
        return
    folder.mkdir(mode=0o700, parents=True)
    sync(folder.parent)
