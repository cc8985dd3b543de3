"""Tables of the server itself."""

from datetime import datetime

from sqlmodel import Field, SQLModel


class ApiKey(SQLModel, table=True):
    """A key of an application or an administrator; only its hash is kept."""

    __tablename__ = "api_key"

    id: str = Field(primary_key=True)
    """Public: it stands in the key itself and in logs."""
    hash: str = Field(unique=True)
    """sha256 of the whole key (which has 256 random bits, so no salt or stretching is needed)."""
    role: str
    """`app` or `admin`."""
    tenant: str
    created_at: datetime
    revoked_at: datetime | None = None


class Secret(SQLModel, table=True):
    """A secret that all servers on this database share (the key under the ids' MAC)."""

    __tablename__ = "secret"

    name: str = Field(primary_key=True)
    value: bytes
