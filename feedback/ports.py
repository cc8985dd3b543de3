"""What the log asks of its surroundings."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from sqlmodel.ext.asyncio.session import AsyncSession

Clock = Callable[[], datetime]
"""Gives the time now, aware, in UTC."""


class Database(Protocol):
    """Short sessions. One writer at a time, whoever asks (`server.db.Database`)."""

    def read(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A session for reading; close it before tokens stream."""
        ...

    def write(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A transaction: waits for its turn, commits durably on exit, rolls back on error."""
        ...


class RecorderObserver(Protocol):
    """Hears what happens to the log: for metrics. Called on the event loop; must not raise."""

    def queue_depth(self, rows: int) -> None:
        """Rows that wait or are being written now."""
        ...

    def committed(self, rows: int, seconds: float) -> None:
        """One group is durable; `seconds` is the time of its transaction."""
        ...

    def retried(self, rows: int) -> None:
        """The database failed a group; it will be tried again."""
        ...

    def failed(self, rows: int, reason: str) -> None:
        """Rows that will not be stored; `reason` is a class of error."""
        ...

    def feedback_stored(self, metric_name: str, version: str | None) -> None:
        """New feedback is durable; `version` is None where its interaction is not known yet."""
        ...


class SilentObserver:
    """Listens to nothing: for tools and tests."""

    def queue_depth(self, rows: int) -> None:
        """Nothing."""

    def committed(self, rows: int, seconds: float) -> None:
        """Nothing."""

    def retried(self, rows: int) -> None:
        """Nothing."""

    def failed(self, rows: int, reason: str) -> None:
        """Nothing."""

    def feedback_stored(self, metric_name: str, version: str | None) -> None:
        """Nothing."""
