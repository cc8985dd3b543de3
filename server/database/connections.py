"""The ways into one database, as `server.database.database.Database` uses them."""

import json
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from server.database.hung_connections import HungConnections


@dataclass(frozen=True, slots=True)
class Connections:
    """Connections to one database.

    `direct` is the writer's thread's: the same database through a synchronous driver. With
    `one_turn` both ways of writing wait for each other within this process; without, the database
    itself keeps apart what must be. `probe` is for asking whether the database answers, whatever
    the others are busy with. `silence` looks after operations that may never end.
    """

    writer: AsyncEngine
    reader: AsyncEngine
    direct: Engine
    probe: AsyncEngine
    one_turn: bool
    silence: HungConnections | None = None

    async def dispose(self) -> None:
        """Close all connections."""
        if self.silence is not None:
            await self.silence.close()
        self.direct.dispose()
        await self.writer.dispose()
        await self.reader.dispose()
        await self.probe.dispose()


def to_json(value: Any) -> str:
    """JSON as every database takes it: numbers that are not finite become null."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer over 64 bits, a lone surrogate
        return json.dumps(value)
