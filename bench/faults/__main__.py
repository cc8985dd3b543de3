"""Runs the fault scenarios, writes their tables: `python -m bench.faults [--only 1 4] [--short]`.

Each scenario is a module of its own (`bench/fault_*.py`), run in a process of its own, that prints
its table and exits with 1 when what it shows does not hold. With `--write docs/results.md` the
tables replace those between the scenario's marks in that file; else they are printed.
"""

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.support.tables import parser


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault, the commands that measure it, and shorter versions of them."""

    number: int
    title: str
    commands: tuple[str, ...]
    short: tuple[str, ...]


SCENARIOS = (
    Scenario(
        1,
        "The server killed with kill -9",
        ("bench.faults.kills",),
        ("bench.faults.kills --kills 3 --real-kills 1",),
    ),
    Scenario(
        2,
        "The database away for a minute",
        ("bench.faults.database_away",),
        ("bench.faults.database_away --outages 2 --seconds 5",),
    ),
    Scenario(
        3,
        "Runs killed at each step, and the publish at each system call",
        ("bench.faults.runs",),
        ("bench.faults.runs --short",),
    ),
    Scenario(
        4,
        "Ten years of weeks with three schedulers",
        ("bench.faults.schedule",),
        ("bench.faults.schedule --weeks 20",),
    ),
    Scenario(
        5,
        "SIGTERM with 32 streams open",
        ("bench.faults.sigterm",),
        ("bench.faults.sigterm --times 3 --real-times 1",),
    ),
    Scenario(
        6,
        "The engine killed, and stopped",
        ("bench.faults.engine",),
        ("bench.faults.engine --kills 1 --hangs 1",),
    ),
    Scenario(
        7,
        "Three servers, promotions and rollbacks",
        ("bench.faults.servers",),
        ("bench.faults.servers --changes 6",),
    ),
    Scenario(
        8,
        "A full disk",
        ("bench.faults.disk_full",),
        ("bench.faults.disk_full --rounds 1",),
    ),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """A scenario's output, and whether its claim holds."""

    scenario: Scenario
    text: str
    good: bool


def measure(scenario: Scenario, *, short: bool) -> Measured:
    """Run the scenario's commands one after the other."""
    tables, good = [], True
    for command in scenario.short if short else scenario.commands:
        started = time.monotonic()
        print(f"{scenario.number}: python -m {command}", file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", *command.split()], stdout=subprocess.PIPE, text=True, check=False
        )
        seconds = time.monotonic() - started
        verdict = "holds" if done.returncode == 0 else f"FAILED ({done.returncode})"
        print(f"{scenario.number}: {verdict} after {seconds:.0f} s", file=sys.stderr, flush=True)
        tables.append(f"`python -m {command}` ({seconds:.0f} s):\n\n{_demoted(done.stdout)}")
        good &= done.returncode == 0
    return Measured(scenario, "\n".join(tables).rstrip(), good)


def _demoted(markdown: str) -> str:
    """Set the titles of tables in italics, since headings belong to the page."""
    return re.sub(r"^#+ (.+)$", r"*\1*", markdown, flags=re.MULTILINE)


def section(measured: Measured) -> str:
    """Return the scenario's part of the page, between marks that the next run replaces."""
    number = measured.scenario.number
    heading = f"### {number}. {measured.scenario.title}"
    return f"<!-- fault {number} -->\n{heading}\n{measured.text}\n<!-- /fault {number} -->"


def replaced(page: str, measured: Measured) -> str:
    """The page with the scenario's part put in; raises `ValueError` where it has no marks."""
    number = measured.scenario.number
    marks = re.compile(rf"<!-- fault {number} -->.*?<!-- /fault {number} -->", re.DOTALL)
    if marks.search(page) is None:
        raise ValueError(f"the page has no place for fault {number}: add '<!-- fault {number} -->'")
    return marks.sub(lambda _: section(measured), page)


def _write(page: Path, measured: Measured) -> None:
    page.write_text(replaced(page.read_text(), measured))


def chosen(numbers: Sequence[int]) -> list[Scenario]:
    """Return the scenarios with these numbers; all of them if none is given."""
    return [scenario for scenario in SCENARIOS if not numbers or scenario.number in numbers]


def main() -> None:
    """Measure; exit with 1 if any claim does not hold."""
    made = parser(__doc__)
    made.add_argument("--only", type=int, nargs="+", default=[], metavar="N")
    made.add_argument("--short", action="store_true", help="minutes instead of hours")
    made.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page")
    arguments = made.parse_args()
    good = True
    for scenario in chosen(arguments.only):
        measured = measure(scenario, short=arguments.short)
        good &= measured.good
        if arguments.write is None:
            print(section(measured), flush=True)
        else:
            _write(arguments.write, measured)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
