"""Ids of pairs and labels: hashes of what they consist of. Pure."""

from hashlib import blake2b

ID_BYTES = 12
"""Length of an id before hex encoding."""


def identifier(*parts: str) -> str:
    """Return a hash of the parts; hashing their lengths too keeps different lists apart."""
    digest = blake2b(digest_size=ID_BYTES)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()
