"""The database interface that every package uses: short sessions, one writer at a time."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from sqlalchemy import Connection
from sqlmodel.ext.asyncio.session import AsyncSession

Result = TypeVar("Result")

Guard = Callable[[AsyncSession], Awaitable[None]]
"""Runs first in the transaction of a change; raises if its author may no longer make the change.

This stops a process that has lost its right to write, such as the former owner of a run that
another process took over, however long it was suspended between its last check and the change.
"""


async def allow_any(session: AsyncSession) -> None:
    """Allow every change. The guard for changes that people request."""
    del session


class Database(Protocol):
    """Opens short sessions, with one writer at a time.

    Implemented by `server.database.database.Database`.
    """

    def read(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a session for reading. Close it before an answer streams."""
        ...

    def write(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a transaction: waits for its turn, commits durably on exit, rolls back on error."""
        ...

    async def transaction(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a transaction in a worker thread and return its result.

        This costs one thread switch for the whole transaction instead of one per query. The
        transaction commits or rolls back even if the caller is cancelled meanwhile.
        """
        ...
