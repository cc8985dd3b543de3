"""What all sections of the settings have in common, and the forms that several settings take.

A setting is checked where it is defined, as far as that needs nothing but its value. What depends
on the machine (files, imports, ports, the engine) is checked at the start of a server.
"""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

YEAR_SECONDS = 366 * 86_400
CENTURY_DAYS = 36_525
_HIGHEST_PORT = 65_535


class Section(BaseModel):
    """One section: names that are not known, and numbers that are not finite, are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


Seconds = Annotated[float, Field(le=YEAR_SECONDS)]
"""A length of time, a year at most: clocks and timers overflow somewhere above."""
Days = Annotated[float, Field(le=CENTURY_DAYS)]
"""A length of time, a century at most: the dates before year 1 do not exist."""


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
    """Whether `text` is an address of HTTP with a host, and with a port that can exist."""
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
"""A Python function as `module:name`. Whether it can be imported is checked at the start."""
HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""The address of a service."""
