"""Error rates of the online gate, simulated: `python -m bench.online_gate`.

Votes are clustered by user and base rates drift (`bench/workloads/canaries.py`). For equal versions
the table shows false promotions and rollbacks, at fixed shares and over a ramp with a falling base
rate; for unequal ones the right decisions and the number of rated users at the decision.

The second table is of the same canaries where a fifth of the users also decide blind comparisons,
30 % of them ties and 10 % both bad. The third and the fourth compare the gate's rule for these with
others (`bench/support/tie_rules.py`). `--full` simulates as many canaries as docs/results.md shows.
"""

import argparse
import gc
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import beta

from bench.support.tie_rules import RuleFigures, both_bad_as_votes, compare_rules
from bench.workloads.canaries import World, make_canary, make_events
from bench.workloads.comparisons import Comparers
from retrain.config import OnlineGateConfig
from retrain.gates.e_process import rare_event_path
from retrain.gates.online import decision

RAMP = ((0.0, 0.01), (2.0, 0.05), (5.0, 0.25), (9.0, 0.5))
USERS = 8_000
ALARM = 100.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One line of the table."""

    name: str
    world: World
    canaries: int


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The gate's decisions for a cell's canaries; `rated` is the mean of rated users at the end."""

    name: str
    canaries: int
    promoted: float
    rolled_back: float
    expired: float
    rated: float

    def interval(self, share: float) -> tuple[float, float]:
        """The 95 % Clopper-Pearson interval of a share of the canaries."""
        hits = round(share * self.canaries)
        low = 0.0 if hits == 0 else float(beta.ppf(0.025, hits, self.canaries - hits + 1))
        high = (
            1.0 if hits == self.canaries else float(beta.ppf(0.975, hits + 1, self.canaries - hits))
        )
        return low, high


def cells(equal: int, unequal: int) -> Iterator[Cell]:
    """All lines."""
    for share in (0.5, 0.1, 0.05):
        yield Cell(f"equal, {share:.0%} share", _at(share), equal)
    yield Cell(
        "equal, ramp 1-5-25-50 %, rates fall by .2",
        World(users=USERS, stages=RAMP, slope=-0.2),
        equal,
    )
    for live, canary in ((0.5, 0.6), (0.5, 0.56), (0.6, 0.5)):
        world = World(live=live, canary=canary, users=USERS)
        yield Cell(f"{live:.2f} -> {canary:.2f}, 50 % share", world, unequal)


def compared_cells(equal: int, unequal: int) -> Iterator[Cell]:
    """The same lines with users who compare, too; they prefer the version that they vote for."""
    for cell in cells(equal, unequal):
        won = 0.5 + cell.world.canary - cell.world.live
        yield replace(cell, world=replace(cell.world, comparers=Comparers.alike(won)))


def simulate(cell: Cell, seed: int, workers: int) -> Outcomes:
    """Run the gate over one cell's canaries."""
    seeds = np.random.SeedSequence(seed).spawn(cell.canaries)
    # Collecting garbage would take half of the time, and there are no cycles.
    with ProcessPoolExecutor(workers, initializer=gc.disable) as pool:
        ends = pool.map(_end, [cell.world] * cell.canaries, seeds, chunksize=25)
        seen = list(track(ends, cell.name, total=cell.canaries, console=Console(stderr=True)))
    counted = Counter(outcome for outcome, _ in seen)
    return Outcomes(
        name=cell.name,
        canaries=cell.canaries,
        promoted=counted["promoted"] / cell.canaries,
        rolled_back=counted["rolled back"] / cell.canaries,
        expired=counted["expired"] / cell.canaries,
        rated=float(np.mean([rated for _, rated in seen])),
    )


def _end(world: World, seed: np.random.SeedSequence) -> tuple[str, int]:
    """Return how one canary ends, and how many users had rated by then."""
    evidence = make_canary(world, np.random.default_rng(seed))
    config = OnlineGateConfig(longest_days=world.days)
    found, _ = decision(evidence, config)
    if found is None or found.at >= world.days * 86_400:
        return "expired", len(evidence.first)
    rated = sum(timed.at <= found.at for timed in evidence.first)
    return ("promoted" if found.promotes else "rolled back"), rated


def alarms(share: float, rates: tuple[float, float], canaries: int, seed: int) -> float:
    """Return how often a guardrail fires within 10,000 users at these rates of a rare event."""
    rng = np.random.default_rng(seed)
    fired = 0
    for _ in range(canaries):
        events = [(one.canary, one.share) for one in make_events(10_000, share, rates, rng)]
        fired += bool((rare_event_path(events) >= ALARM).any())
    return fired / canaries


def _at(share: float) -> World:
    return World(users=USERS, stages=((0.0, share),))


def _table(title: str, rows: list[Outcomes]) -> Table:
    table = Table(title, "n", "promoted", "rolled back", "undecided", "rated users")
    for row in rows:
        low, high = row.interval(row.promoted)
        below, above = row.interval(row.rolled_back)
        table.add_row(
            row.name,
            str(row.canaries),
            f"{row.promoted:.4f} [{low:.4f}, {high:.4f}]",
            f"{row.rolled_back:.4f} [{below:.4f}, {above:.4f}]",
            f"{row.expired:.3f}",
            f"{row.rated:.0f}",
        )
    return table


def _rules_table(rows: list[RuleFigures]) -> Table:
    table = Table("comparisons alone", "rule", "n", "reached 100", "units at that point")
    for row in rows:
        users = f"{row.users:.0f}" if row.reached else ""
        table.add_row(row.world, row.rule, str(row.runs), f"{row.reached:.4f}", users)
    return table


def _shares_table(title: str, column: str, rows: dict[str, float]) -> Table:
    table = Table(title, column)
    for name, share in rows.items():
        table.add_row(name, f"{share:.4f}")
    return table


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--equal", type=int, default=200, help="canaries of equal versions a line")
    parser.add_argument("--unequal", type=int, default=50, help="canaries of unequal ones a line")
    parser.add_argument("--full", action="store_true", help="2,000 and 500 of them")
    parser.add_argument(
        "--tables", choices=("all", "votes", "ties"), default="all", help="which tables"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    if options.full:
        options.equal, options.unequal = 2_000, 500
    return options


@dataclass(slots=True)
class Figures:
    """All that is printed."""

    canaries: list[Outcomes] = field(default_factory=list)
    alarms: dict[str, float] = field(default_factory=dict)
    compared: list[Outcomes] = field(default_factory=list)
    rules: list[RuleFigures] = field(default_factory=list)
    both_bad_as_votes: dict[str, float] = field(default_factory=dict)


def figures(options: argparse.Namespace) -> Figures:
    """Simulate what the options ask for."""
    found = Figures()
    sizes, seed = (options.equal, options.unequal), options.seed
    if options.tables != "ties":
        found.canaries = [simulate(cell, seed, options.workers) for cell in cells(*sizes)]
        found.alarms = {
            f"{before:.1%} -> {after:.1%}, {share:.0%} share": alarms(
                share, (before, after), options.equal, seed
            )
            for share in (0.05, 0.5)
            for before, after in ((0.01, 0.01), (0.002, 0.01))
        }
    if options.tables != "votes":
        found.compared = [simulate(cell, seed, options.workers) for cell in compared_cells(*sizes)]
        found.rules = list(compare_rules(options.equal, seed))
        found.both_bad_as_votes = {
            f"{share:.0%} share": both_bad_as_votes(share, options.equal // 4, seed)
            for share in (0.5, 0.1, 0.05)
        }
    return found


def main() -> None:
    """Print the tables."""
    options = _options()
    found = figures(options)
    if options.json:
        print(json.dumps(asdict(found), indent=2))
        return
    console = Console(width=160)
    if found.canaries:
        console.print(_table("canaries", found.canaries))
        fired = "guardrail fired within 10,000 users"
        console.print(_shares_table("rare event", fired, found.alarms))
    if found.compared:
        title = "canaries, 30 % ties and 10 % both bad"
        console.print(_table(title, found.compared))
        console.print(_rules_table(found.rules))
        title = '"both bad" as two votes, equal versions'
        console.print(_shares_table(title, "rolled back", found.both_bad_as_votes))


if __name__ == "__main__":
    main()
