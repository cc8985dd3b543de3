"""Feedback tokens: short-lived credentials with which a browser can rate one answer.

A token is `pawlft_`, its claims as base64url of JSON, a dot, and base64url of a keyed MAC of the
claims. It is verified without the database. Its claims are not secret.
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
    """Permission to judge one interaction as `rater` (None for the interaction's user).

    `expires_at` is an aware time in UTC, in whole seconds.
    """

    tenant: str
    interaction_id: str
    rater: str | None
    expires_at: datetime


class FeedbackTokens:
    """Issues and verifies tokens with the secret of `InteractionIds`, in a separate MAC domain."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def new(
        self, tenant: str, interaction_id: str, rater: str | None, now: datetime, seconds: int
    ) -> tuple[str, FeedbackGrant]:
        """Issue a token that is valid for `seconds` from `now` (aware); return it and its grant."""
        ends = int(now.timestamp()) + seconds
        claims = json.dumps([tenant, interaction_id, rater, ends], separators=(",", ":")).encode()
        token = f"{PREFIX}{_encode(claims)}.{_encode(self._mac(claims))}"
        expires_at = datetime.fromtimestamp(0, UTC) + timedelta(seconds=ends)
        return token, FeedbackGrant(tenant, interaction_id, rater, expires_at)

    def read(self, token: str, now: datetime) -> FeedbackGrant:
        """Return the token's grant. Raises `FeedbackTokenError` if it is forged or expired."""
        claims = self._claims(token)
        if claims is None:
            raise FeedbackTokenError.forged()
        tenant, interaction_id, rater, ends = json.loads(claims)
        expires_at = datetime.fromtimestamp(0, UTC) + timedelta(seconds=ends)
        if now >= expires_at:
            raise FeedbackTokenError.expired()
        return FeedbackGrant(tenant, interaction_id, rater, expires_at)

    def _claims(self, token: str) -> bytes | None:
        """Return the claims if the MAC is valid, else None. Accepts any string."""
        if not token.startswith(PREFIX) or len(token) > _LENGTH_MAX or not token.isascii():
            return None
        text, _, mac = token.removeprefix(PREFIX).partition(".")
        claims = _decode(text)
        if claims is None or not compare_digest(mac, _encode(self._mac(claims))):
            return None
        return claims if _encode(claims) == text else None

    def _mac(self, claims: bytes) -> bytes:
        # `person` separates these MACs from those of ids, which use the same secret.
        return blake2b(
            claims, key=self._secret, digest_size=_MAC_BYTES, person=b"feedback-token"
        ).digest()


def is_feedback_token(text: str) -> bool:
    """Return whether `text` has the form of a feedback token rather than an API key."""
    return text.startswith(PREFIX)


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes | None:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
