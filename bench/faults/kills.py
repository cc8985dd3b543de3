"""Kills the server 200 times on each database, and with the real engine: `bench.faults.kills`.

Scenario 1 of the faults: what `bench.durability` measures, with one row for each setting. No
acknowledged row may be lost or stored twice, and no process may be left.
"""

import sys

from bench.durability import measure as kill_server
from bench.support.log_stores import DATABASES, DatabaseKind
from bench.support.tables import Row, parser, report

TITLE = "Feedback under kill -9 of the server"


def measure(*, kills: int, real_kills: int, seed: int) -> tuple[list[Row], bool]:
    """Return all rows, and whether all of them are good."""
    plan: list[tuple[DatabaseKind, str, int]] = [(name, "fake", kills) for name in DATABASES]
    plan.append(("sqlite", "vllm", real_kills))
    rows, all_good = [], True
    for database, engine, count in plan:
        if count:
            print(f"{count} kills on {database}, {engine} engine", file=sys.stderr, flush=True)
            row, good = kill_server(kills=count, seed=seed, database=database, engine=engine)
            rows.append(row)
            all_good &= good
    return rows, all_good


def main() -> None:
    """Print the table; exit with 1 if something was lost, stored twice or left running."""
    made = parser(__doc__)
    made.add_argument("--kills", type=int, default=200, help="on each database, fake engine")
    made.add_argument("--real-kills", type=int, default=10, help="with the real engine")
    arguments = made.parse_args()
    rows, good = measure(
        kills=arguments.kills, real_kills=arguments.real_kills, seed=arguments.seed
    )
    report({TITLE: rows}, as_json=arguments.json)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
