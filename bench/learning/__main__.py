"""Run the benchmarks of learning: `python -m bench.learning [--case NAME]... [--seeds N] [--json]`.

Each case (`bench/learning/cases.py`) runs with each seed and returns measured values with their
targets. Progress goes to stderr; the table, or with `--json` a list of `{case, seed, value, target,
met, note}`, to stdout. Exits with status 1 if a target is missed.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from bench.learning.cases import CASES
from bench.learning.harness import Result, run_cases, summary
from bench.support.tables import report


def main() -> None:
    """Run the chosen cases and print their results."""
    options = _options()
    names = options.case or list(CASES)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with tempfile.TemporaryDirectory(prefix="pawl-learning-", ignore_cleanup_errors=True) as own:
        folder = options.folder or Path(own)
        results = list(run_cases({name: CASES[name] for name in names}, seeds, folder))
    _print(results, as_json=options.json)
    sys.exit(any(result.met is False for result in results))


def _print(results: list[Result], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([result.as_json() for result in results], indent=2))
    elif results:
        report({"What the loop learns": summary(results)}, as_json=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--case", action="append", choices=sorted(CASES), help="a case; again for more; else all"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each case")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of them")
    parser.add_argument("--folder", type=Path, help="for base models and servers; else a temporary")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    return parser.parse_args()


if __name__ == "__main__":
    main()
