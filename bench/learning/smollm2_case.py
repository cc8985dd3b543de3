"""The case on a pretrained model: `pawl demo --model smollm2`, seed by seed."""

import os
from collections.abc import Sequence

from rich.console import Console

from bench.learning.harness import Options, Result, at_least, at_most
from demo.local_server import LocalServer
from demo.report.figures import MeasuredWinRate
from demo.screen import Screen
from demo.smollm2.fetch import fetch_smollm2
from demo.smollm2.report import PlainReport
from demo.smollm2.settings import smollm2_settings
from demo.smollm2.weeks import PlainDemo, run_plain_demo

CASE = "smollm2"
ALPHA, MINUTES = 0.01, 30.0


async def smollm2(seed: int, options: Options) -> Sequence[Result]:
    """Run the demo and return p of the candidate against base, its rate and the minutes."""
    model = fetch_smollm2(options.cache / "smollm2-model")
    settings = smollm2_settings(model, seed, len(os.sched_getaffinity(0)))
    server = LocalServer(options.folder, settings)
    try:
        demo = PlainDemo(weeks=1, seed=seed, screen=Screen(Console(quiet=True)))
        report = await run_plain_demo(demo, server)
    finally:
        server.stop()
    return _results(seed, report)


def _results(seed: int, report: PlainReport) -> list[Result]:
    week = report.last
    win = week.win_vs_base
    if win is None or week.figures is None:
        why = f"{week.verdict}: {'; '.join(week.reasons)}"
        return [Result(CASE, seed, None, None, met=False, note=why)]
    return [
        at_most(CASE, seed, win.p, ALPHA, note=_note(report, win), measure="p against base"),
        Result(CASE, seed, win.rate, None, None, _interval(win), "win against base"),
        at_least(
            CASE,
            seed,
            week.figures.finished - report.base.finished,
            0.0,
            measure="finished answers, candidate less base",
        ),
        at_most(CASE, seed, report.seconds / 60, MINUTES, measure="minutes"),
    ]


def _interval(win: MeasuredWinRate) -> str:
    return f"[{win.low:.2f}, {win.high:.2f}]"


def _note(report: PlainReport, win: MeasuredWinRate) -> str:
    week, base = report.last, report.base
    made = week.figures or base
    return (
        f"{week.verdict}; win {win.rate:.2f} {_interval(win)}; {week.pairs} pairs; "
        f"words {base.words:.1f} to {made.words:.1f}, finished {base.finished:.0%} to "
        f"{made.finished:.0%}; {report.seconds / 60:.0f} min"
    )
