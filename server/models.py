"""The server's own tables."""

from datetime import datetime

from sqlmodel import Field, SQLModel


class ApiKey(SQLModel, table=True):
    """A key of an application or an administrator; only its hash is stored."""

    __tablename__ = "api_key"

    id: str = Field(primary_key=True)
    """Public: part of the key itself, and written to logs."""
    hash: str = Field(unique=True)
    """sha256 of the whole key (which has 256 random bits, so no salt or stretching is needed)."""
    role: str
    """`app` or `admin`."""
    tenant: str
    created_at: datetime
    revoked_at: datetime | None = None


class Secret(SQLModel, table=True):
    """A secret that all servers on this database share: the HMAC key of interaction ids."""

    __tablename__ = "secret"

    name: str = Field(primary_key=True)
    value: bytes
