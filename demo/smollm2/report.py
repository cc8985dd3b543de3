"""The report of `pawl demo --model smollm2`: answers before and after, and their figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from common.frozen_model import FrozenModel
from demo.report.figures import MeasuredWinRate, win_rate_of
from demo.report.report_page import page_of
from demo.smollm2.taste import traits, worth

TIE_WIDTH = 0.1
"""Answers whose worths differ by less than this are a tie: three words of excess length."""


class PlainFigures(FrozenModel):
    """A version's answers: mean words, and shares that are finished, marked up, related."""

    n: int
    words: float
    finished: float
    markup: float
    related: float


class PlainWeek(FrozenModel):
    """One weekly run; the figures are the candidate's, None where the run made none."""

    slot: str
    pairs: int
    train_seconds: float | None
    verdict: str
    reasons: tuple[str, ...]
    live: str
    win_vs_base: MeasuredWinRate | None = None
    win_vs_live: MeasuredWinRate | None = None
    figures: PlainFigures | None = None


class PlainExample(FrozenModel):
    """One held-out question, answered by base and by the last candidate."""

    question: str
    base: str
    candidate: str


class PlainReport(FrozenModel):
    """The whole demo. `seconds` is its duration, `dtype` what the engine computed in."""

    seed: int
    seconds: float
    base: PlainFigures
    weeks: tuple[PlainWeek, ...]
    examples: tuple[PlainExample, ...] = ()
    libraries: Mapping[str, str] = {}

    @property
    def last(self) -> PlainWeek:
        """The last week."""
        return self.weeks[-1]


def plain_figures(questions: Sequence[str], texts: Sequence[str]) -> PlainFigures:
    """Describe the answers. Raises ValueError when there are none."""
    if not texts:
        raise ValueError("no answers to describe: ask the version something first")
    seen = [traits(question, text) for question, text in zip(questions, texts, strict=True)]
    return PlainFigures(
        n=len(seen),
        words=fmean(one.words for one in seen),
        finished=fmean(one.finished for one in seen),
        markup=fmean(one.markup for one in seen),
        related=fmean(one.related for one in seen),
    )


def plain_win_rate(questions: Sequence[str], a: Sequence[str], b: Sequence[str]) -> MeasuredWinRate:
    """Compare two versions' answers by the mean taste, without noise."""
    gaps = [
        worth(question, mine) - worth(question, other)
        for question, mine, other in zip(questions, a, b, strict=True)
    ]
    wins = sum(gap >= TIE_WIDTH for gap in gaps)
    losses = sum(gap <= -TIE_WIDTH for gap in gaps)
    return win_rate_of(wins, losses, len(gaps) - wins - losses)


def write_plain_report(out: Path, report: PlainReport) -> Path:
    """Write `report.json` and `report.html` into `out` and return the page's path."""
    (out / "report.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    page = out / "report.html"
    page.write_text(page_of("smollm2.html.j2", report=report), encoding="utf-8")
    return page
