"""What servers on one PostgreSQL tell each other: something changed, look at it.

Sent within a transaction and heard once it is committed. A signal may be lost; whoever waits for
one also looks from time to time.
"""

from sqlalchemy import Connection, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

ROUTES = "pawl_routes"
"""A route, a version, or what servers are asked to load."""
SERVERS = "pawl_servers"
"""What a server holds."""

_SIGNALLING = "postgresql"


async def signal(session: AsyncSession, name: str) -> None:
    """Tell the other servers; nothing on a database that cannot."""
    if session.get_bind().dialect.name == _SIGNALLING:
        await session.scalar(select(func.pg_notify(name, "")))


def signal_now(connection: Connection, name: str) -> None:
    """As `signal`, on a connection."""
    if connection.dialect.name == _SIGNALLING:
        connection.execute(select(func.pg_notify(name, "")))
