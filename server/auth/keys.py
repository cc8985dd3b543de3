"""Authentication: API keys, their roles and tenants.

Only hashes of keys are stored. They are cached, so that chat works without the database, and read
again every few seconds, because another server may create and revoke keys. As long as no key
exists, the server accepts loopback requests only, as one tenant with both roles.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlmodel import col, select

from adapters.signals import signal
from common.clock import Clock
from common.database import Database
from feedback.errors import FeedbackTokenError
from feedback.feedback_tokens import is_feedback_token
from feedback.storage.database_errors import is_outage
from server.auth.lookup import KeyLookup
from server.errors import (
    AuthenticationError,
    KeyNotFoundError,
    KeysUnavailableError,
    PermissionDeniedError,
)
from server.models import ApiKey
from server.settings import DEFAULT_TENANT

KEYS = "pawl_keys"
"""PostgreSQL notification channel for created and revoked keys."""

Role = Literal["app", "admin"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sends a request. An operator (of the machine itself) may act for every tenant."""

    tenant: str
    roles: frozenset[Role]
    key_id: str | None = None
    operator: bool = False

    @property
    def name(self) -> str:
        """The name that is recorded in events as their actor."""
        return f"key {self.key_id}" if self.key_id else "operator"

    def require(self, role: Role) -> None:
        """Raise `PermissionDeniedError` unless the principal has `role`."""
        if role not in self.roles:
            raise PermissionDeniedError(role)

    def may_use(self, tenant: str) -> bool:
        """Return whether the principal may use what belongs to `tenant`."""
        return self.operator or self.tenant == tenant


BOTH_ROLES: frozenset[Role] = frozenset({"app", "admin"})
OPEN = Principal(tenant=DEFAULT_TENANT, roles=BOTH_ROLES, operator=True)
"""The principal of every request while no key exists and the server listens on loopback only."""


def hash_key(key: str) -> str:
    """Return the sha256 of a key in hex, the only form that is stored."""
    return hashlib.sha256(key.encode()).hexdigest()


class KeyRing:
    """The API keys with a cache, which this server's own changes update at once."""

    def __init__(
        self, database: Database, clock: Clock, operator_token: str, *, loopback: bool
    ) -> None:
        self._database = database
        self._clock = clock
        self._operator_hash = hash_key(operator_token)
        self._loopback = loopback
        self._by_hash: dict[str, Principal] = {}
        self._current = True
        self._lookup = KeyLookup(self.refresh, lambda: self._current)
        self._changes = self._reads = self._shown = 0
        self.rows: Sequence[ApiKey] = ()
        """All keys as last read, revoked ones too."""

    async def refresh(self) -> None:
        """Read all keys again; if the database raises, so does this, and the cache is kept."""
        self._current = False
        while True:
            self._reads += 1
            mine, changes = self._reads, self._changes
            async with self._database.read() as session:
                rows = list(await session.exec(select(ApiKey)))
            if changes != self._changes:
                continue  # the rows may be older than a change made meanwhile
            if mine > self._shown:  # else a refresh that started later has finished first
                self._shown = mine
                self.replace_all(rows)
            self._current = True
            return

    def replace_all(self, rows: Sequence[ApiKey]) -> None:
        """Replace the cache by these keys, as at a start without the database."""
        self.rows = rows
        self._by_hash = {key.hash: _principal(key) for key in rows if key.revoked_at is None}

    @property
    def empty(self) -> bool:
        """Whether there is no valid key."""
        return not self._by_hash

    @property
    def open(self) -> bool:
        """Whether requests need no key: none was ever created, and only loopback is served."""
        return self._loopback and not self.rows

    async def authenticate(self, authorization: str | None) -> Principal:
        """Return the principal of an `Authorization` header; cached keys need no database.

        Raises:
            AuthenticationError: If the key is missing or unknown.
            KeysUnavailableError: If the key is not cached and the database is unavailable.
            FeedbackTokenError: If the header holds a feedback token, which is no key.

        """
        token = bearer(authorization)
        if token is not None and is_feedback_token(token):
            raise FeedbackTokenError.elsewhere()
        known = None if token is None else self._known(hash_key(token))
        if known is not None:
            return known
        if self.open:
            return OPEN
        if token is None:
            raise AuthenticationError
        return await self._looked_up(hash_key(token))

    def _known(self, hashed: str) -> Principal | None:
        if secrets.compare_digest(hashed, self._operator_hash):
            return OPEN
        return self._by_hash.get(hashed)

    async def _looked_up(self, hashed: str) -> Principal:
        """Look a key that is not cached up in the database: it may be new."""
        try:
            await self._lookup.look(hashed)
        except Exception as error:
            if is_outage(error):
                raise KeysUnavailableError from error
            raise
        found = self._by_hash.get(hashed)
        if found is None:
            raise AuthenticationError
        return found

    async def create(self, role: Role, tenant: str) -> tuple[ApiKey, str]:
        """Create a key; return its row and the key itself, which is not stored."""
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
        self._changes += 1
        self.replace_all([*self.rows, row])
        return row, key

    async def revoke(self, identifier: str, tenant: str | None) -> None:
        """Revoke a key; raises `KeyNotFoundError` if it is unknown or not of `tenant`."""
        async with self._database.write() as session:
            row = await session.get(ApiKey, identifier)
            if row is None or (tenant is not None and row.tenant != tenant):
                raise KeyNotFoundError(identifier)
            row.revoked_at = self._clock()
            await signal(session, KEYS)
        self._changes += 1
        self.replace_all([row if key.id == identifier else key for key in self.rows])

    async def keys(self, tenant: str | None) -> list[ApiKey]:
        """Return the keys of a tenant (None: of all tenants), newest last."""
        query = select(ApiKey).order_by(col(ApiKey.created_at), col(ApiKey.id))
        if tenant is not None:
            query = query.where(col(ApiKey.tenant) == tenant)
        async with self._database.read() as session:
            return list((await session.exec(query)).all())


def _principal(key: ApiKey) -> Principal:
    roles: frozenset[Role] = BOTH_ROLES if key.role == "admin" else frozenset({"app"})
    return Principal(tenant=key.tenant, roles=roles, key_id=key.id)


def bearer(authorization: str | None) -> str | None:
    """Return the bearer token of an `Authorization` header; None if it has none."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
