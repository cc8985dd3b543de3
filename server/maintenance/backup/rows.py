"""Rows of a table as lines of JSON that mean the same on every database. Pure.

A line is an array in the order of the columns. A time is ISO 8601 in UTC, bytes are base64, and a
JSON column is its own text, so that nothing of it is changed by being read and written again.
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
    """How values of a column of this type are written."""
    if isinstance(type_, DateTime):
        return "time"
    if isinstance(type_, LargeBinary):
        return "bytes"
    return "json" if isinstance(type_, JSON) else "plain"


def encoder(kinds: Sequence[Kind]) -> Encode:
    """Gives a row's line, with its newline."""
    special = [(place, _ENCODE[kind]) for place, kind in enumerate(kinds) if kind in _ENCODE]

    def encode(row: Sequence[Any]) -> bytes:
        values = list(row)
        for place, convert in special:
            if values[place] is not None:
                values[place] = convert(values[place])
        return orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE)

    return encode


def decoder(kinds: Sequence[Kind]) -> Decode:
    """Gives a line's row: aware times, bytes, and the text of JSON columns.

    It raises ValueError for what is no such line.
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
    """SQLite keeps UTC without saying so."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.isoformat()


_ENCODE: dict[Kind, Callable[[Any], str]] = {
    "time": _utc,
    "bytes": lambda value: b64encode(value).decode("ascii"),
}
_DECODE: dict[Kind, Callable[[str], Any]] = {"time": datetime.fromisoformat, "bytes": b64decode}
