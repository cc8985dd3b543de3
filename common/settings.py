"""Base class of the sections of the settings, and types that several settings share.

A type checks what depends on the value alone. What depends on the machine (files, imports, ports,
the engine) is checked when a server starts.
"""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

YEAR_SECONDS = 366 * 86_400
CENTURY_DAYS = 36_525
_HIGHEST_PORT = 65_535


class Section(BaseModel):
    """One section of the settings; refuses unknown names and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


Seconds = Annotated[float, Field(le=YEAR_SECONDS)]
"""A duration in seconds, at most a year: larger values overflow clocks and timers."""
Days = Annotated[float, Field(le=CENTURY_DAYS)]
"""A duration in days, at most a century: subtracting more could give a date before year 1."""


def _function(text: str) -> str:
    module, _, name = text.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise ValueError("write module:name, such as my_company.judges:panel")
    return text


def _http_url(text: str) -> str:
    if not is_http_url(text):
        raise ValueError("write an address that begins with http:// or https://")
    return text


def is_http_url(text: str) -> bool:
    """Return whether `text` is an HTTP or HTTPS URL with a host and, if any, a valid port."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    if any(mark.isspace() or not mark.isprintable() for mark in text):
        return False
    right_port = port is None or 0 < port <= _HIGHEST_PORT
    return parts.scheme in ("http", "https") and bool(parts.hostname) and right_port


FunctionSpec = Annotated[str, AfterValidator(_function)]
"""A Python function as `module:name`. Whether it can be imported is checked at startup."""
HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""The HTTP or HTTPS URL of a service."""
