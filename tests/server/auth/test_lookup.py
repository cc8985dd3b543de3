"""Looking keys up while the database is slow."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection
from sqlmodel.ext.asyncio.session import AsyncSession

from common.database import Database, Result
from server.auth.keys import KeyRing
from server.auth.lookup import KeyLookup
from server.errors import AuthenticationError

pytestmark = pytest.mark.anyio


class LateReads:
    """A database whose reads, where `held`, have read but come to their end only when let go."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.held = False
        self.have_read, self.go_on = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        held = self.held
        async with self._database.read() as session:
            yield session
        if held:
            self.have_read.set()
            await self.go_on.wait()

    def write(self) -> AbstractAsyncContextManager[AsyncSession]:
        return self._database.write()

    async def transaction(self, work: Callable[[Connection], Result]) -> Result:
        return await self._database.transaction(work)


def ring(database: Database) -> KeyRing:
    """The keys of one server."""
    return KeyRing(database, lambda: datetime(2026, 11, 21, tzinfo=UTC), "token", loopback=True)


@asynccontextmanager
async def older_read(database: LateReads, keys: KeyRing) -> AsyncIterator[None]:
    """A refresh that has read before the block, and ends after it."""
    database.held = True
    older = asyncio.create_task(keys.refresh())
    await database.have_read.wait()
    database.held = False
    yield
    database.go_on.set()
    await older


async def test_an_older_read_does_not_hide_a_key_that_a_newer_one_found(database: Database) -> None:
    late = LateReads(database)
    keys = ring(late)
    await keys.create("app", "default")
    async with asyncio.timeout(10), older_read(late, keys):
        row, key = await ring(database).create("app", "default")
        await keys.authenticate(f"Bearer {key}")
    assert (await keys.authenticate(f"Bearer {key}")).key_id == row.id


async def test_an_older_read_does_not_undo_a_revocation(database: Database) -> None:
    late = LateReads(database)
    keys = ring(late)
    row, key = await ring(database).create("app", "default")
    async with asyncio.timeout(10), older_read(late, keys):
        await ring(database).revoke(row.id, None)
        await keys.refresh()
    with pytest.raises(AuthenticationError):
        await keys.authenticate(f"Bearer {key}")


async def test_what_is_looked_up_during_a_query_waits_for_its_end() -> None:
    begun, go_on, queries = asyncio.Event(), asyncio.Event(), list[int]()

    async def refresh() -> None:
        queries.append(len(queries) + 1)
        begun.set()
        await go_on.wait()

    lookup = KeyLookup(refresh, lambda: True, pause_seconds=0)
    first = asyncio.create_task(lookup.look("one"))
    await begun.wait()
    others = [asyncio.create_task(lookup.look(key)) for key in ("two", "three")]
    for _ in range(20):
        await asyncio.sleep(0)
    assert queries == [1]
    go_on.set()
    async with asyncio.timeout(10):
        await asyncio.gather(first, *others)
    assert queries == [1, 2]


async def test_the_pause_between_two_queries_begins_when_the_first_has_ended() -> None:
    ended: list[float] = []

    async def refresh() -> None:
        await asyncio.sleep(0)
        ended.append(asyncio.get_running_loop().time())

    lookup = KeyLookup(refresh, lambda: True, pause_seconds=60)
    await lookup.look("one")
    assert lookup._free_at >= ended[0] + 60
