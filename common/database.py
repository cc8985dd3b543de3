"""The database as every room sees it: short sessions, one writer at a time."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from sqlalchemy import Connection
from sqlmodel.ext.asyncio.session import AsyncSession

Result = TypeVar("Result")

Guard = Callable[[AsyncSession], Awaitable[None]]
"""Asked in the transaction of a change, before it: raises where its author may not make it now.

So nobody who lost the right meanwhile (the owner of a run that another one took over) changes
anything, however long it slept between its last look and the change.
"""


async def allow_any(session: AsyncSession) -> None:
    """The guard of changes that people make: lets them pass."""
    del session


class Database(Protocol):
    """Short sessions. One writer at a time, whoever asks (`server.database.database.Database`)."""

    def read(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A session for reading; close it before tokens stream."""
        ...

    def write(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A transaction: waits for its turn, commits durably on exit, rolls back on error."""
        ...

    async def transaction(self, work: Callable[[Connection], Result]) -> Result:
        """Do `work` in a transaction, in another thread: one change of threads, not one a query.

        It is made durable or rolled back even if the caller is cancelled meanwhile.
        """
        ...
