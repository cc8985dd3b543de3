"""Deterministic pseudo-random assignment by hash."""

from hashlib import blake2b


def unit_interval(name: bytes, *, purpose: bytes = b"") -> float:
    """Map `name` to [0, 1): uniform over names and independent between purposes.

    Args:
        name: The bytes to hash, such as a user's id.
        purpose: Domain separation (BLAKE2's `person`), at most 16 bytes.

    """
    digest = blake2b(name, digest_size=8, person=purpose).digest()
    return int.from_bytes(digest, "big") / 2**64
