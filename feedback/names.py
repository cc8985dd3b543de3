"""Limits on names that clients choose (users, raters, run ids), and how the log stores them.

Names are indexed, and PostgreSQL refuses a row whose index entry exceeds about 2,700 bytes. A name
that is too long is refused with the name of its field. Longer names that older versions of Pawl
accepted are replaced by a hash when their rows are written again.
"""

from hashlib import blake2b
from typing import Any

from feedback.config import INDEXED_MAX
from feedback.errors import InvalidInputError


def check_length(field: str, text: str | None, limit: int) -> None:
    """Raise `InvalidInputError` for a text over `limit` characters."""
    if text is not None and len(text) > limit:
        raise InvalidInputError.of(field, f"must have at most {limit} characters")


def user_problem(user: Any, limit: int) -> str | None:
    """Return what is wrong with the `user` of a request, or None if it is valid or left out."""
    if user is None:
        return None
    if not isinstance(user, str):
        return "must be a text"
    if len(user) > limit:
        return f"must have at most {limit} characters"
    return "must not contain NUL characters" if "\x00" in user else None


def storable(text: str) -> str:
    """Replace characters that no database stores (NUL, lone surrogates)."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def storable_name(name: str | None) -> str | None:
    """Return the name, or a hash of it if it is too long for an index."""
    if name is None or len(name) <= INDEXED_MAX:
        return None if name is None else storable(name)
    return f"hash:{blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"
