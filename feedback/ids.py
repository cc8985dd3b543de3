"""Ids of interactions: unforgeable, bound to a tenant, and verified without a database.

An id is `chatcmpl-` or `cmpl-` and 36 characters of base32 over 22 bytes: 6 of time (milliseconds
since 1970), 8 random, 8 of a keyed MAC of the prefix, the time, the random bytes and the tenant.
"""

import re
from base64 import b32decode, b32encode
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from hmac import compare_digest
from secrets import token_bytes
from typing import Literal

Prefix = Literal["chatcmpl", "cmpl"]

_FORM = re.compile(r"(chatcmpl|cmpl)-([a-z2-7]{36})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_BYTES, _RANDOM_BYTES, _MAC_BYTES = 6, 8, 8
_SECRET_MIN, _SECRET_MAX = 16, 64


class InteractionIds:
    """Issues and verifies ids with one server-wide secret of 16 to 64 bytes.

    Keep the secret confidential, as it allows forging ids. Ids of another secret are not authentic.
    """

    def __init__(self, secret: bytes) -> None:
        if not _SECRET_MIN <= len(secret) <= _SECRET_MAX:
            raise ValueError(f"the id secret needs {_SECRET_MIN} to {_SECRET_MAX} bytes")
        self._secret = secret

    def new(self, prefix: Prefix, tenant: str, at: datetime) -> str:
        """Return a new id of `tenant`; its time is `at` (aware), in milliseconds."""
        milliseconds = (at - _EPOCH) // timedelta(milliseconds=1)
        body = milliseconds.to_bytes(_TIME_BYTES, "big") + token_bytes(_RANDOM_BYTES)
        return f"{prefix}-{_encode(body + self._mac(prefix, body, tenant))}"

    def authentic(self, interaction_id: str, tenant: str) -> bool:
        """Return whether this id was issued here to this tenant. Accepts any string."""
        form = _FORM.fullmatch(interaction_id)
        if form is None:
            return False
        prefix, text = form.groups()
        raw = _decode(text)
        if _encode(raw) != text:  # the last character has four spare bits
            return False
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        return compare_digest(mac, self._mac(prefix, body, tenant))

    def _mac(self, prefix: str, body: bytes, tenant: str) -> bytes:
        # Unambiguous: the body's length is fixed, and no prefix plus "-" begins another one.
        content = b"%s-%s%s" % (prefix.encode(), body, tenant.encode("utf-8", "surrogatepass"))
        return blake2b(content, key=self._secret, digest_size=_MAC_BYTES).digest()


def _encode(raw: bytes) -> str:
    return b32encode(raw).decode().rstrip("=").lower()


def _decode(text: str) -> bytes:
    return b32decode(text.upper() + "====")
