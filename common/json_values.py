"""Types for values that come as JSON: whole numbers and texts that a database can keep."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

_EXACT = 2**53
"""Above it a float does not name one whole number."""


def whole_number(value: Any) -> Any:
    """The int that a float is (JSON does not tell 4.0 from 4); everything else as it was."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    return value


def without_nul(text: str) -> str:
    """The text; raises ValueError for a NUL character, which PostgreSQL has no place for."""
    if "\x00" in text:
        raise ValueError("must not contain NUL characters")
    return text


WholeNumber = Annotated[int, BeforeValidator(whole_number)]
PlainText = Annotated[str, AfterValidator(without_nul)]
