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
