"""The learning benchmark's harness: what a case returns is what is printed."""

from pathlib import Path

import pytest

from bench.learning.harness import Case, Options, Result, at_least, at_most, run_cases, summary


def results_of(case: Case, folder: Path, seeds: int = 1) -> list[Result]:
    return list(run_cases({"any": case}, range(seeds), folder))


def steady(seed: int, options: Options) -> list[Result]:
    return [at_least("any", seed, 0.8 + seed / 10, 0.85, note="n = 3", measure="wins")]


async def awaited(seed: int, options: Options) -> list[Result]:
    return steady(seed, options)


def broken(seed: int, options: Options) -> list[Result]:
    raise RuntimeError("no server")


@pytest.mark.parametrize("case", [steady, awaited])
def test_every_seed_is_run(case: Case, tmp_path: Path) -> None:
    assert [(one.seed, one.met) for one in results_of(case, tmp_path, 2)] == [(0, False), (1, True)]


def test_a_seed_that_fails_is_a_result_that_is_not_met(tmp_path: Path) -> None:
    (result,) = results_of(broken, tmp_path)
    assert (result.value, result.met, result.note) == (None, False, "failed: no server")


def test_a_seeds_folder_is_removed(tmp_path: Path) -> None:
    results_of(steady, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_json_has_six_fields() -> None:
    printed = at_most("any", 0, 0.04, 0.05, note="2,000 years", measure="promotions").as_json()
    assert printed == {
        "case": "any",
        "seed": 0,
        "value": 0.04,
        "target": 0.05,
        "met": True,
        "note": "promotions: 2,000 years",
    }


def test_the_summary_has_one_line_a_measure(tmp_path: Path) -> None:
    (line,) = summary(results_of(steady, tmp_path, 2))
    assert line["mean"] == pytest.approx(0.85)
    assert line["met"] == "1 of 2"
