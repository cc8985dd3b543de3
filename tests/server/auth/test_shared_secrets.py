"""Keys and secrets that several servers have in common, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from server.auth.id_secret import id_secret
from server.auth.keys import KeyRing
from server.database.database import Database
from server.errors import AuthenticationError

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 21, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
async def second(database_url: str) -> AsyncIterator[Database]:
    """Another server's view of the same database."""
    made = Database(database_url)
    yield made
    await made.close()


def ring(database: Database, now: datetime = NOW) -> KeyRing:
    return KeyRing(database, lambda: now, "the operator's token", loopback=True)


async def test_servers_that_start_at_once_make_one_secret(
    database: Database, second: Database
) -> None:
    made = await asyncio.gather(*(id_secret(at) for at in (database, second) for _ in range(5)))
    assert (len(set(made)), len(made[0])) == (1, 32)


async def test_a_key_of_one_server_is_known_to_the_next(
    database: Database, second: Database
) -> None:
    row, key = await ring(database).create("app", "shop")
    other = ring(second)
    await other.refresh()
    principal = await other.authenticate(f"Bearer {key}")
    assert (principal.tenant, principal.key_id, other.open) == ("shop", row.id, False)


async def test_a_revoked_key_is_known_to_nobody_and_keeps_its_dates(
    database: Database, second: Database
) -> None:
    row, key = await ring(database).create("admin", "shop")
    await ring(second, NOW + timedelta(hours=1)).revoke(row.id, "shop")
    other = ring(database)
    await other.refresh()
    with pytest.raises(AuthenticationError):
        await other.authenticate(f"Bearer {key}")
    (kept,) = await other.keys("shop")
    assert (kept.created_at, kept.revoked_at) == (NOW, NOW + timedelta(hours=1))
