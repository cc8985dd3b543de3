"""The ways into one database, as `server.db.Database` uses them."""

from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine


@dataclass(frozen=True, slots=True)
class Engines:
    """Connections to one database.

    `direct` is the writer's thread's: the same database through a synchronous driver. With
    `one_turn` both ways of writing wait for each other within this process; without, the database
    itself keeps apart what must be.
    """

    writer: AsyncEngine
    reader: AsyncEngine
    direct: Engine
    one_turn: bool

    async def dispose(self) -> None:
        """Close all connections that nobody uses."""
        self.direct.dispose()
        await self.writer.dispose()
        await self.reader.dispose()
