"""The secret that authenticates interaction ids, stored in the database."""

import secrets

from common.database import Database
from server.models import Secret

ID_SECRET = "interaction-id"  # noqa: S105  (a name)
SECRET_BYTES = 32


async def id_secret(database: Database) -> bytes:
    """Return the HMAC key of interaction ids; created at the first start."""
    async with database.write() as session:
        known = await session.get(Secret, ID_SECRET)
        if known is not None:
            return known.value
        fresh = Secret(name=ID_SECRET, value=secrets.token_bytes(SECRET_BYTES))
        session.add(fresh)
        return fresh.value
