"""Prints results as Markdown tables or as JSON."""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def markdown(title: str, rows: Sequence[Row]) -> str:
    """A titled Markdown table; the first row names the columns."""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[_cell(value) for value in row.values()] for row in rows]
    return "\n".join((f"### {title}", "", *(f"| {' | '.join(line)} |" for line in lines), ""))


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def report(tables: Mapping[str, Sequence[Row]], *, as_json: bool) -> None:
    """Print all tables, by title."""
    if as_json:
        print(json.dumps(tables, indent=2, default=str))
    else:
        print("\n".join(markdown(title, rows) for title, rows in tables.items()))


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a command line with the options of every benchmark: `--json` and `--seed`."""
    made = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    made.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    made.add_argument("--seed", type=int, default=0)
    return made
