"""Kills servers, trainers and publishers during a run: `python -m bench.faults.runs`.

Scenario 3 of the faults. A server is killed at each commit of a run and at random instants, a
trainer at random instants (`bench.faults.killed_runs`). A process that publishes an adapter is
killed at each of its writing system calls, or gets the error of a full or broken disk there
(`bench.faults.killed_publish`). The live version must be the previous or the new one and complete,
every run must end by itself, and no process may be left.
"""

import logging
import random
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from bench.faults.killed_publish import KILL, Struck, strike
from bench.faults.killed_runs import Killed, kill
from bench.support.tables import Row, parser, report

TITLE = "Runs and publishes that are struck"
COMMITS, INSTANTS, TRAINERS = 32, 20, 20
SHORT_STRIDE = 30


@dataclass(slots=True)
class Tally:
    """The outcome of all faults of one kind."""

    kills: int = 0
    before: int = 0
    new: int = 0
    half: int = 0
    ended: int = 0
    orphans: int | None = None
    """None if the processes of this kind start no others."""

    def add(self, *, new: bool, half: bool, ended: bool, orphans: int | None = None) -> None:
        """Count one more fault that occurred."""
        self.kills += 1
        self.before += not new and not half
        self.new += new and not half
        self.half += half
        self.ended += ended
        if orphans is not None:
            self.orphans = (self.orphans or 0) + orphans

    @property
    def good(self) -> bool:
        """Whether no version was incomplete, every run ended, and no process was left."""
        return not self.half and not self.orphans and self.ended == self.kills


Tallies = dict[str, Tally]


def tally_runs(killed: Iterable[Killed], tallies: Tallies) -> None:
    """Count by the killed process and the step of the run."""
    for one in killed:
        if one.died:
            name = f"{one.what}: {one.step}" if one.what != "trainer" else "trainer: train"
            tallies.setdefault(name, Tally()).add(
                new=one.new_live, half=one.half, ended=one.ended, orphans=one.orphans
            )
            print(f"killed: {name}", file=sys.stderr, flush=True)


def tally_publishes(struck: Iterable[Struck], tallies: Tallies) -> None:
    """Count kills by system call, errors by their kind."""
    for one in struck:
        if one.happened:
            error = one.fault.how.partition("=")[2]
            name = f"publisher: {one.fault.call}"
            if one.fault.how != KILL:
                name = f"publisher, {error} at any call"
            tallies.setdefault(name, Tally()).add(new=one.new_live, half=one.half, ended=one.ended)


def rows(tallies: Tallies) -> Sequence[Row]:
    """One row for each kind."""
    return [
        {
            "struck": name,
            "times": tally.kills,
            "previous live": tally.before,
            "new live": tally.new,
            "half": tally.half,
            "ended well": tally.ended,
            "orphans": "-" if tally.orphans is None else tally.orphans,
        }
        for name, tally in tallies.items()
    ]


def main() -> None:
    """Print the table; exit with 1 if something was incomplete, stuck or left running."""
    made = parser(__doc__)
    made.add_argument("--commits", type=int, default=COMMITS, help="first commits to kill at")
    made.add_argument("--instants", type=int, default=INSTANTS, help="random ones")
    made.add_argument("--trainers", type=int, default=TRAINERS)
    made.add_argument("--stride", type=int, default=1, help="fault at every Nth system call")
    made.add_argument("--short", action="store_true", help="a few of each")
    arguments = made.parse_args()
    if arguments.short:
        arguments.commits, arguments.instants, arguments.trainers = 4, 1, 2
        arguments.stride = SHORT_STRIDE
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    tallies: Tallies = {}
    with tempfile.TemporaryDirectory(prefix="pawl-runs-") as folder:
        runs, publishes = Path(folder) / "runs", Path(folder) / "publishes"
        runs.mkdir()
        publishes.mkdir()
        killed = kill(
            runs,
            commits=arguments.commits,
            instants=arguments.instants,
            trainers=arguments.trainers,
            rng=random.Random(arguments.seed),
        )
        tally_runs(killed, tallies)
        tally_publishes(strike(publishes, stride=arguments.stride), tallies)
    report({TITLE: rows(tallies)}, as_json=arguments.json)
    raise SystemExit(0 if all(tally.good for tally in tallies.values()) else 1)


if __name__ == "__main__":
    main()
