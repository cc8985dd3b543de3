"""The query plans of the statements that the product executes.

`recorded` collects every statement of every SQLAlchemy engine. The `…_offences` functions ask a
database with realistic rows for a statement's plan, and name the growing tables that it would scan
completely. A search by an index counts as a complete scan if its condition uses only columns with
few distinct values: with a single channel, all rows of a channel are the whole table.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import Engine, event
from sqlalchemy.engine import URL

GROWING = frozenset(
    {"interaction", "choice", "feedback", "feedback_subjects", "version_event", "rollout_event",
     "trained_text"}
)  # fmt: skip
"""Tables that have a row for each request, piece of feedback, decision or text."""
FEW_VALUES = frozenset(
    {"tenant", "channel", "mode", "role", "status", "endpoint", "version", "metric_name", "source",
     "choice", "index", "trial_share", "texts_removed_at"}
)  # fmt: skip
"""Columns with the same value in very many rows."""
_PLANNED = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", re.IGNORECASE)
_STEP = re.compile(r"(SCAN|SEARCH) (\w+)(?: .*?INDEX (\S+))?(?: \((.*)\))?")
_SORTED = "USE TEMP B-TREE FOR ORDER BY"


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, as passed to the driver of the database `url`."""

    url: URL
    text: str
    parameters: Any


@contextmanager
def recorded() -> Iterator[list[Statement]]:
    """Collect the distinct statements executed during the block."""
    found: dict[tuple[str, str], Statement] = {}

    def hear(
        connection: Any, _cursor: Any, text: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        first = parameters[0] if many and parameters else parameters
        if _PLANNED.match(text):
            key = (str(connection.engine.url), _shape(text))
            found.setdefault(key, Statement(connection.engine.url, text, first))

    heard: list[Statement] = []
    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield heard
    finally:
        event.remove(Engine, "before_cursor_execute", hear)
        heard += found.values()


def _shape(text: str) -> str:
    """The statement without the number of its parameters."""
    return re.sub(r"\([?, ]+\)|\((%\(\w+\)s(::\w+)?(, )?)+\)", "(...)", text)


def sqlite_offences(connection: sqlite3.Connection, statement: Statement) -> list[str]:
    """Return the growing tables that SQLite would scan completely for the statement."""
    query = f"EXPLAIN QUERY PLAN {statement.text}"
    details = [row[3] for row in connection.execute(query, statement.parameters)]
    ordered = "LIMIT" in statement.text and _SORTED not in details
    return [table for detail in details if (table := _read_whole(detail, ordered)) is not None]


def _read_whole(detail: str, ordered: bool) -> str | None:
    step = _STEP.match(detail)
    if step is None:
        return None
    kind, alias, index, condition = step.groups()
    table = re.sub(r"_\d+$", "", alias)
    if table not in GROWING or (kind == "SEARCH" and condition is None):  # the least or greatest
        return None
    if kind == "SCAN":
        return None if index and ordered else table
    if "ANY(" in condition:  # a search for each value of the columns that come first
        return table
    columns = set(re.findall(r"(\w+)[=<>]", condition))
    return None if columns - _few(table) else table


def _few(table: str) -> frozenset[str]:
    """Events and texts of one version are few."""
    return (
        FEW_VALUES if table in ("interaction", "choice", "feedback") else FEW_VALUES - {"version"}
    )


def postgres_offences(connection: psycopg.Connection[Any], statement: Statement) -> list[str]:
    """Return the growing tables that PostgreSQL would scan even with `enable_seqscan` off."""
    for avoided in ("seqscan", "hashjoin", "mergejoin"):
        connection.execute(f"SET enable_{avoided} = off")
    explained = connection.execute(f"EXPLAIN (FORMAT JSON) {statement.text}", statement.parameters)
    row = explained.fetchone()
    assert row is not None
    return list(_read_whole_by(row[0][0]["Plan"], _first_columns(connection), limited=False))


def _first_columns(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Return the first column of each index by name; without it the whole index is read."""
    found = connection.execute(
        "SELECT c.relname, pg_get_indexdef(i.indexrelid, 1, true) FROM pg_index i "
        "JOIN pg_class c ON c.oid = i.indexrelid"
    )
    return {name: column.strip('"') for name, column in found}


def _read_whole_by(node: dict[str, Any], first: dict[str, str], *, limited: bool) -> Iterator[str]:
    kind, table = node["Node Type"], node.get("Relation Name")
    limited = (limited or kind == "Limit") and kind not in ("Sort", "Aggregate", "WindowAgg")
    inner = node.get("Plans", [])
    if table in GROWING and not limited and _reads_whole(node, first):
        yield table
    for one in inner:
        yield from _read_whole_by(one, first, limited=limited)


def _reads_whole(node: dict[str, Any], first: dict[str, str]) -> bool:
    match node["Node Type"]:
        case "Seq Scan":
            return True
        case "Index Scan" | "Index Only Scan":
            return not _narrow(node["Relation Name"], first, node)
        case "Bitmap Heap Scan":
            below = list(_below(node["Plans"]))
            narrow = [
                _narrow(node["Relation Name"], first, one) for one in below if "Index Name" in one
            ]
            either = any(one["Node Type"] == "BitmapOr" for one in below)
            return not (all(narrow) if either else any(narrow))
    return False


def _narrow(table: str, first: dict[str, str], search: dict[str, Any]) -> bool:
    """Return whether a search by an index finds few rows of a table of any size."""
    columns = set(re.findall(r"\b[a-z_]+\b", search.get("Index Cond", ""))) & _COLUMNS
    return first.get(search.get("Index Name", "")) in columns and bool(columns - _few(table))


_COLUMNS = FEW_VALUES | {"id", "interaction_id", "received_at", "run_id", "trial", "comparison",
    "conversation", "user", "rater", "retracts", "text_key", "at", "parent"}  # fmt: skip


def _below(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        if node["Node Type"].startswith("Bitmap"):
            yield node
            yield from _below(node.get("Plans", []))


def opened(url: URL) -> closing[sqlite3.Connection]:
    """Open a separate connection to the SQLite database at `url`."""
    assert url.database is not None
    return closing(sqlite3.connect(url.database))
