"""Names that clients choose (users, raters, run ids): what the log takes, and how it keeps them.

Names stand in indexes, and PostgreSQL refuses a row whose index entry is larger than about 2,700
bytes. A name that breaks the rule is refused where it comes in, with its field; what is in the log
under an older rule is kept as a hash when it is written again.
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
    """What is wrong with the `user` of a request for an answer; None where it can be kept.

    It may be left out.
    """
    if user is None:
        return None
    if not isinstance(user, str):
        return "must be a text"
    if len(user) > limit:
        return f"must have at most {limit} characters"
    return "must not contain NUL characters" if "\x00" in user else None


def storable(text: str) -> str:
    """The text with what no database keeps (NUL, lone surrogates) replaced."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def storable_name(name: str | None) -> str | None:
    """The name as an index can hold it: a hash where it is too long."""
    if name is None or len(name) <= INDEXED_MAX:
        return None if name is None else storable(name)
    return f"hash:{blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"
