"""`GET|POST /v1/keys`, `DELETE /v1/keys/{id}`: keys of applications and administrators."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from adapters.names import TENANT_FORM
from server.api.dependencies import Admin, Here, KeyPath
from server.api.description.errors import errors
from server.api.routes import api_router
from server.errors import PermissionDeniedError
from server.models import ApiKey

router = api_router("keys")


class KeyIn(BaseModel):
    """The role and tenant of a new key."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["app", "admin"]
    tenant: str | None = Field(default=None, pattern=f"^{TENANT_FORM}$")


class KeyOut(BaseModel):
    """A key without its secret."""

    id: str
    role: str
    tenant: str
    created_at: datetime
    revoked_at: datetime | None


class KeyMade(KeyOut):
    """A new key. `key` is the key itself, which cannot be shown again."""

    key: str


@router.post("/v1/keys")
async def make_key(principal: Admin, here: Here, body: KeyIn) -> KeyMade:
    """Create a key."""
    tenant = body.tenant or principal.tenant
    if not principal.may_use(tenant):
        raise PermissionDeniedError("admin of that tenant")
    row, key = await here.keys.create(body.role, tenant)
    return KeyMade(key=key, **_out(row).model_dump())


@router.get("/v1/keys")
async def list_keys(principal: Admin, here: Here) -> list[KeyOut]:
    """List the keys of the tenant, or of all tenants for an operator."""
    tenant = None if principal.operator else principal.tenant
    return [_out(row) for row in await here.keys.keys(tenant)]


@router.delete("/v1/keys/{identifier}", status_code=204, responses=errors(404))
async def revoke_key(identifier: KeyPath, principal: Admin, here: Here) -> None:
    """Revoke a key at once."""
    await here.keys.revoke(identifier, None if principal.operator else principal.tenant)


def _out(row: ApiKey) -> KeyOut:
    return KeyOut.model_validate(row, from_attributes=True)
