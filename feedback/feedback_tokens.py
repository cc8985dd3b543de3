"""Feedback tokens: what lets a browser rate one answer for a while, without the application's key.

A token is `pawlft_`, its claims as base64url of JSON, a dot, and base64url of a keyed MAC over
them. It is checked without the database. Its claims are not secret: whoever holds it can read them.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from hmac import compare_digest

from feedback.errors import FeedbackTokenError

PREFIX = "pawlft_"
SECONDS_MAX = 24 * 3600
_MAC_BYTES = 16
_LENGTH_MAX = 4096


@dataclass(frozen=True, slots=True)
class FeedbackGrant:
    """Leave to judge one interaction as one rater (None: as the interaction's user).

    `expires_at` is aware, in UTC, in whole seconds.
    """

    tenant: str
    interaction_id: str
    rater: str | None
    expires_at: datetime


class FeedbackTokens:
    """Makes and checks tokens with the secret of `InteractionIds`; the two cannot be mixed up."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def new(
        self, tenant: str, interaction_id: str, rater: str | None, now: datetime, seconds: int
    ) -> tuple[str, FeedbackGrant]:
        """A token for `seconds` from `now` (aware), and what it grants."""
        ends = int(now.timestamp()) + seconds
        claims = json.dumps([tenant, interaction_id, rater, ends], separators=(",", ":")).encode()
        token = f"{PREFIX}{_encode(claims)}.{_encode(self._mac(claims))}"
        expires_at = datetime.fromtimestamp(0, UTC) + timedelta(seconds=ends)
        return token, FeedbackGrant(tenant, interaction_id, rater, expires_at)

    def read(self, token: str, now: datetime) -> FeedbackGrant:
        """What a token grants. Raises `FeedbackTokenError` for a forged or expired one."""
        claims = self._claims(token)
        if claims is None:
            raise FeedbackTokenError.forged()
        tenant, interaction_id, rater, ends = json.loads(claims)
        expires_at = datetime.fromtimestamp(0, UTC) + timedelta(seconds=ends)
        if now >= expires_at:
            raise FeedbackTokenError.expired()
        return FeedbackGrant(tenant, interaction_id, rater, expires_at)

    def _claims(self, token: str) -> bytes | None:
        """The claims, if they and the MAC are ours to the last bit. Any string may be asked."""
        if not token.startswith(PREFIX) or len(token) > _LENGTH_MAX or not token.isascii():
            return None
        text, _, mac = token.removeprefix(PREFIX).partition(".")
        claims = _decode(text)
        if claims is None or not compare_digest(mac, _encode(self._mac(claims))):
            return None
        return claims if _encode(claims) == text else None

    def _mac(self, claims: bytes) -> bytes:
        # `person` keeps these MACs apart from those of ids, which are made with the same secret.
        return blake2b(
            claims, key=self._secret, digest_size=_MAC_BYTES, person=b"feedback-token"
        ).digest()


def is_feedback_token(text: str) -> bool:
    """Whether this means to be a token, and not a key."""
    return text.startswith(PREFIX)


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes | None:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
