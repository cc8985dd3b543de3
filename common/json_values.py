"""Types for values parsed from JSON: whole numbers, and texts that a database can store."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

_EXACT = 2**53
"""The largest magnitude below which every whole number has a float of its own."""


def whole_number(value: Any) -> Any:
    """Return a float with a whole value as an int (JSON treats 4.0 as 4); else `value` itself."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    return value


def without_nul(text: str) -> str:
    """Return `text`; raise ValueError for a NUL character, which PostgreSQL cannot store."""
    if "\x00" in text:
        raise ValueError("must not contain NUL characters")
    return text


WholeNumber = Annotated[int, BeforeValidator(whole_number)]
PlainText = Annotated[str, AfterValidator(without_nul)]
