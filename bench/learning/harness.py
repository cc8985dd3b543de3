"""Runs cases seed by seed. A case is a function of a seed; it returns its measured values."""

import asyncio
import inspect
import shutil
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from bench.support.tables import Row


@dataclass(frozen=True, slots=True)
class Result:
    """One measured value of one seed of a case.

    `met` says whether the value is on the right side of `target`, None where nothing was promised.
    `value` is None if the case failed; `note` says then why, and else what is worth knowing.
    `measure` names the value where a case has several.
    """

    case: str
    seed: int
    value: float | None
    target: float | None
    met: bool | None
    note: str = ""
    measure: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the six fields of the benchmark's JSON; the note begins with the measure."""
        fields = asdict(self)
        measure = fields.pop("measure")
        return fields | {"note": ": ".join(part for part in (measure, self.note) if part)}


@dataclass(frozen=True, slots=True)
class Options:
    """Options and progress output that are passed to a case.

    `folder` is empty and is removed after the seed; `cache` is kept for the next seeds and cases
    (base models). `say` prints a line of progress on stderr.
    """

    folder: Path
    cache: Path
    say: Callable[[str], None]


Case = Callable[[int, Options], "Sequence[Result] | Awaitable[Sequence[Result]]"]
"""A case; it may be async."""


def at_least(
    case: str, seed: int, value: float, target: float, *, note: str = "", measure: str = ""
) -> Result:
    """Return a result that is met if the value is `target` or more."""
    return Result(case, seed, value, target, value >= target, note, measure)


def at_most(
    case: str, seed: int, value: float, target: float, *, note: str = "", measure: str = ""
) -> Result:
    """Return a result that is met if the value is `target` or less."""
    return Result(case, seed, value, target, value <= target, note, measure)


def run_cases(cases: Mapping[str, Case], seeds: Iterable[int], folder: Path) -> Iterator[Result]:
    """Run each case with each seed and yield the results as they come.

    A case that raises gives one result that is not met; its traceback goes to stderr, and its
    folder with the server's log is kept.
    """
    seeds = list(seeds)
    for name, case in cases.items():
        for seed in seeds:
            own = folder / f"{name}-{seed}"
            shutil.rmtree(own, ignore_errors=True)  # of a run that was stopped
            own.mkdir(parents=True)
            options = Options(own, folder, partial(say, f"{name}, seed {seed}"))
            results = _results(name, case, seed, options)
            if not any(result.value is None for result in results):
                shutil.rmtree(own, ignore_errors=True)
            yield from results


def say(at: str, text: str) -> None:
    """Print a line of progress on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {at}: {text}", file=sys.stderr, flush=True)


def summary(results: Sequence[Result]) -> list[Row]:
    """Return one line for each case and measure, over its seeds."""
    keyed = sorted(results, key=lambda one: (one.case, one.measure))
    return [
        _line(case, measure, list(group))
        for (case, measure), group in groupby(keyed, lambda one: (one.case, one.measure))
    ]


def _results(name: str, case: Case, seed: int, options: Options) -> Sequence[Result]:
    started = time.monotonic()
    try:
        found = case(seed, options)
        results = asyncio.run(_awaited(found)) if inspect.isawaitable(found) else found
    except Exception as error:  # noqa: BLE001  (one seed's failure is a result; others still run)
        traceback.print_exc()
        results = [Result(name, seed, None, None, met=False, note=f"failed: {error}")]
    options.say(f"{time.monotonic() - started:.0f} s")
    return results


async def _awaited(found: Awaitable[Sequence[Result]]) -> Sequence[Result]:
    return await found


def _line(case: str, measure: str, results: Sequence[Result]) -> Row:
    values = [one.value for one in results if one.value is not None]
    target = next((one.target for one in results if one.target is not None), None)
    judged = [one.met for one in results if one.met is not None]
    return {
        "case": case,
        "measure": measure,
        "seeds": len(results),
        "mean": sum(values) / len(values) if values else "failed",
        "each": ", ".join(f"{value:.3g}" for value in values),
        "target": "" if target is None else target,
        "met": f"{sum(judged)} of {len(judged)}" if judged else "",
        "note": results[0].note,
    }
