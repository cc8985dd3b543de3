"""Notifications between servers on one PostgreSQL database (`NOTIFY`): read the tables again.

They are sent in a transaction and delivered at its commit. As one may be lost, receivers also poll.
"""

from sqlalchemy import Connection, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

ROUTES = "pawl_routes"
"""Channel for changes of routes, versions and load requests."""
SERVERS = "pawl_servers"
"""Channel for changes of the table of servers."""

_SIGNALLING = "postgresql"


async def signal(session: AsyncSession, name: str) -> None:
    """Notify the other servers; does nothing on SQLite."""
    if session.get_bind().dialect.name == _SIGNALLING:
        await session.scalar(select(func.pg_notify(name, "")))


def signal_now(connection: Connection, name: str) -> None:
    """As `signal`, on a synchronous connection."""
    if connection.dialect.name == _SIGNALLING:
        connection.execute(select(func.pg_notify(name, "")))
