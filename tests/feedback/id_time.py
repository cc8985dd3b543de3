"""The time inside an interaction's id, for tests."""

from base64 import b32decode
from datetime import UTC, datetime, timedelta


def issued_at(interaction_id: str) -> datetime:
    """When the id was made, in UTC, to the millisecond."""
    raw = b32decode(interaction_id.partition("-")[2].upper() + "====")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int.from_bytes(raw[:6], "big"))
