"""The connection pools of one database, as `server.database.database.Database` uses them."""

import json
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from server.database.hung_connections import HungConnections


@dataclass(frozen=True, slots=True)
class Connections:
    """Connection pools of one database."""

    writer: AsyncEngine
    """For write transactions from the event loop."""
    reader: AsyncEngine
    """For read-only sessions."""
    direct: Engine
    """The synchronous driver, used by the writer thread."""
    probe: AsyncEngine
    """For checking whether the database answers, even if all other connections are busy."""
    one_turn: bool
    """Whether `writer` and `direct` share one in-process lock (SQLite). Otherwise the database
    serialises them (PostgreSQL's advisory lock)."""
    silence: HungConnections | None = None
    """Cuts connections whose server stopped responding (PostgreSQL)."""

    async def dispose(self) -> None:
        """Close all connections."""
        if self.silence is not None:
            await self.silence.close()
        self.direct.dispose()
        await self.writer.dispose()
        await self.reader.dispose()
        await self.probe.dispose()


def to_json(value: Any) -> str:
    """Serialise to JSON that every database accepts: NaN and infinities become null."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer over 64 bits, a lone surrogate
        return json.dumps(value)
