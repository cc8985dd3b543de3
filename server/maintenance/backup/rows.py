"""Serialises rows as JSON lines that do not depend on the database. Pure functions.

A line is an array in the order of the columns. Times are ISO 8601 in UTC and bytes are base64. JSON
columns are kept as text, so that a round trip does not change them.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import JSON, DateTime, LargeBinary
from sqlalchemy.types import TypeEngine

from server.maintenance.backup.manifest import Kind

Encode = Callable[[Sequence[Any]], bytes]
Decode = Callable[[bytes], list[Any]]


def kind_of(type_: TypeEngine[Any]) -> Kind:
    """Return how values of a column of this type are serialised."""
    if isinstance(type_, DateTime):
        return "time"
    if isinstance(type_, LargeBinary):
        return "bytes"
    return "json" if isinstance(type_, JSON) else "plain"


def encoder(kinds: Sequence[Kind]) -> Encode:
    """Return a function from a row to its line, newline included."""
    special = [(place, _ENCODE[kind]) for place, kind in enumerate(kinds) if kind in _ENCODE]

    def encode(row: Sequence[Any]) -> bytes:
        values = list(row)
        for place, convert in special:
            if values[place] is not None:
                values[place] = convert(values[place])
        return orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE)

    return encode


def decoder(kinds: Sequence[Kind]) -> Decode:
    """Return a function from a line to its row: aware times, bytes, and JSON columns as text.

    The function raises ValueError for an invalid line.
    """
    special = [(place, _DECODE[kind]) for place, kind in enumerate(kinds) if kind in _DECODE]

    def decode(line: bytes) -> list[Any]:
        values = orjson.loads(line)
        if not isinstance(values, list) or len(values) != len(kinds):
            raise ValueError("a line does not have the table's columns")
        for place, convert in special:
            if values[place] is not None:
                values[place] = convert(values[place])
        return values

    return decode


def _utc(moment: datetime) -> str:
    """Format a time in UTC; SQLite returns naive times, which are in UTC."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.isoformat()


_ENCODE: dict[Kind, Callable[[Any], str]] = {
    "time": _utc,
    "bytes": lambda value: b64encode(value).decode("ascii"),
}
_DECODE: dict[Kind, Callable[[str], Any]] = {"time": datetime.fromisoformat, "bytes": b64decode}
