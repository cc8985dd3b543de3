"""Who asks: keys, roles, tenants.

Only hashes of keys are kept. They are cached, so that chat goes on without the database. Without
any key the server serves loopback only, as one tenant with both roles.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Literal

from sqlmodel import col, select

from adapters.signals import signal
from feedback.errors import FeedbackTokenError
from feedback.ports import Clock, Database
from feedback.tokens import is_feedback_token
from server.errors import (
    AuthenticationError,
    KeyNotFoundError,
    PermissionDeniedError,
)
from server.models import ApiKey
from server.settings import DEFAULT_TENANT

KEYS = "pawl_keys"
"""Signalled where a key was made or revoked."""

Role = Literal["app", "admin"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. An operator (of the machine itself) may act for every tenant."""

    tenant: str
    roles: frozenset[Role]
    key_id: str | None = None
    operator: bool = False

    @property
    def name(self) -> str:
        """How events name whoever did something."""
        return f"key {self.key_id}" if self.key_id else "operator"

    def require(self, role: Role) -> None:
        """Raise `PermissionDeniedError` unless the principal has `role`."""
        if role not in self.roles:
            raise PermissionDeniedError(role)

    def may_use(self, tenant: str) -> bool:
        """Whether what belongs to `tenant` is theirs to use."""
        return self.operator or self.tenant == tenant


BOTH_ROLES: frozenset[Role] = frozenset({"app", "admin"})
OPEN = Principal(tenant=DEFAULT_TENANT, roles=BOTH_ROLES, operator=True)
"""Everybody, while there is no key and only this machine can reach the server."""


def hash_key(key: str) -> str:
    """Return the only form of a key that is kept."""
    return hashlib.sha256(key.encode()).hexdigest()


class KeyRing:
    """The keys, cached. Changes go through here, so the cache is never behind this server."""

    def __init__(
        self, database: Database, clock: Clock, operator_token: str, *, loopback: bool
    ) -> None:
        self._database = database
        self._clock = clock
        self._operator_hash = hash_key(operator_token)
        self._loopback = loopback
        self._by_hash: dict[str, Principal] = {}
        self._any_ever = True

    async def load(self) -> None:
        """Read all keys."""
        async with self._database.read() as session:
            keys = (await session.exec(select(ApiKey))).all()
        self._any_ever = bool(keys)
        self._by_hash = {key.hash: _principal(key) for key in keys if key.revoked_at is None}

    @property
    def empty(self) -> bool:
        """Whether no key would be accepted."""
        return not self._by_hash

    @property
    def open(self) -> bool:
        """Whether everybody may in: no key was ever made, and only this machine can ask."""
        return self._loopback and not self._any_ever

    def authenticate(self, authorization: str | None) -> Principal:
        """Tell whose key an `Authorization` header carries.

        Raises `AuthenticationError`, and `FeedbackTokenError`: such a token is no key.
        """
        token = bearer(authorization)
        if token is not None and is_feedback_token(token):
            raise FeedbackTokenError.elsewhere()
        if token is not None:
            hashed = hash_key(token)
            if secrets.compare_digest(hashed, self._operator_hash):
                return OPEN
            if hashed in self._by_hash:
                return self._by_hash[hashed]
        if self.open:
            return OPEN
        raise AuthenticationError

    async def create(self, role: Role, tenant: str) -> tuple[ApiKey, str]:
        """Make a key; the second value is the key itself, shown this once."""
        identifier = secrets.token_hex(6)
        key = f"pawl_{identifier}_{secrets.token_urlsafe(32)}"
        row = ApiKey(
            id=identifier,
            hash=hash_key(key),
            role=role,
            tenant=tenant,
            created_at=self._clock(),
        )
        async with self._database.write() as session:
            session.add(row)
            await signal(session, KEYS)
        self._any_ever = True
        self._by_hash[row.hash] = _principal(row)
        return row, key

    async def revoke(self, identifier: str, tenant: str | None) -> None:
        """End a key at once (`tenant`: only if it is theirs); raises `KeyNotFoundError`."""
        async with self._database.write() as session:
            row = await session.get(ApiKey, identifier)
            if row is None or (tenant is not None and row.tenant != tenant):
                raise KeyNotFoundError(identifier)
            row.revoked_at = self._clock()
            await signal(session, KEYS)
            hashed = row.hash
        self._by_hash.pop(hashed, None)

    async def keys(self, tenant: str | None) -> list[ApiKey]:
        """All keys of a tenant (None: of all), newest last."""
        query = select(ApiKey).order_by(col(ApiKey.created_at), col(ApiKey.id))
        if tenant is not None:
            query = query.where(col(ApiKey.tenant) == tenant)
        async with self._database.read() as session:
            return list((await session.exec(query)).all())


def _principal(key: ApiKey) -> Principal:
    roles: frozenset[Role] = BOTH_ROLES if key.role == "admin" else frozenset({"app"})
    return Principal(tenant=key.tenant, roles=roles, key_id=key.id)


def bearer(authorization: str | None) -> str | None:
    """What an `Authorization` header bears; None for none."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
