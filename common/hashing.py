"""Hashes that place things at random, the same each time."""

from hashlib import blake2b


def unit_interval(name: bytes, *, purpose: bytes = b"") -> float:
    """Where `name` falls in [0, 1): uniform over names, independent between purposes.

    Args:
        name: What is placed.
        purpose: At most 16 bytes. Another purpose draws anew.

    """
    digest = blake2b(name, digest_size=8, person=purpose).digest()
    return int.from_bytes(digest, "big") / 2**64
