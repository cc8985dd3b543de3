"""The ways into one database, as `server.db.Database` uses them."""

from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine


@dataclass(frozen=True, slots=True)
class Engines:
    """Connections to one database.

    `direct` is the writer's thread's: the same database through a synchronous driver. With
    `one_turn` both ways of writing wait for each other within this process; without, the database
    itself keeps apart what must be. `probe` is for asking whether the database answers, whatever
    the others are busy with.
    """

    writer: AsyncEngine
    reader: AsyncEngine
    direct: Engine
    probe: AsyncEngine
    one_turn: bool

    @property
    def all(self) -> tuple[Engine, ...]:
        """All of them, as events are listened to."""
        asynchronous = (self.writer, self.reader, self.probe)
        return (*(engine.sync_engine for engine in asynchronous), self.direct)

    async def dispose(self) -> None:
        """Close all connections that nobody uses."""
        self.direct.dispose()
        await self.writer.dispose()
        await self.reader.dispose()
        await self.probe.dispose()
