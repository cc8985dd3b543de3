"""The demo's output on a terminal: progress bars, and a table at the end."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo.report.figures import AnswerFigures, MeasuredWinRate
from demo.report.report_models import DemoReport, WeekReport
from demo.report.report_page import evidence, milliseconds, number, percent
from demo.report.rollout_models import EvidencePoint, RolloutReport
from demo.report.rollout_plot import name_of


class Bar:
    """The progress bar of one task."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def step(self) -> None:
        """Advance the bar by one."""
        self._progress.advance(self._task)

    def at(self, done: int, total: int) -> None:
        """Set the bar to `done` of `total`."""
        self._progress.update(self._task, completed=done, total=total)

    def tell(self, what: str) -> None:
        """Show what is being done now."""
        self._progress.update(self._task, detail=what)


class Screen:
    """Output on a terminal, or plain lines if there is none."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False)

    @contextmanager
    def bar(self, title: str, total: int | None) -> Iterator[Bar]:
        """Show a bar while the body runs, then how long it took."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            yield Bar(progress, progress.add_task(title, total=total, detail=""))

    def show_week(self, week: WeekReport) -> None:
        """Print one line for the week, with the gate's reasons below."""
        self.say(f"[bold]{week.slot}[/]: {week.verdict}; live: {week.live}")
        for reason in week.reasons:
            self.say(f"  - {reason}")

    def show_rollout(self, rollout: RolloutReport) -> None:
        """Print the decisions and their reasons, then the evidence over time."""
        ended = rollout.ended.replace("_", " ")
        self.say(f"[bold]{rollout.version}[/] against {rollout.previous}: {ended}")
        for decision in rollout.decisions:
            self.say(f"  - {decision.at:%a %d %b %H:%M} {name_of(decision)}: {decision.reason}")
        self.console.print(_evidence_table(rollout))
        for version, thumbs in rollout.thumbs.items():
            self.say(f"  thumbs up for {version}: {percent(thumbs.share)} of {thumbs.given}")

    def show_report(self, report: DemoReport) -> None:
        """Print the table, with a column for each week, so that it fits a narrow terminal."""
        table = Table("", "base", *(week.slot for week in report.weeks))
        columns = [_week_cells(week) for week in report.weeks]
        for row, title in enumerate(ROWS):
            cells = (column[row] for column in columns)
            table.add_row(title, _base_cell(report.base, title), *cells)
        self.console.print(table)
        if report.live_vs_base is not None:
            shown = rate_cell(report.live_vs_base).replace("\n", " ")
            self.say(f"live against base, at the end: {shown}")


ROWS = (
    "pairs",
    "by signal",
    "training",
    "win against live",
    "win against base",
    "correct",
    "rude",
    "words",
    "verdict",
    "live",
    "swap",
)


EVIDENCE_ROWS = 12
"""Maximum number of looks that the terminal shows; the report page shows all."""


def _evidence_table(rollout: RolloutReport) -> Table:
    """Return a table of the stronger stream's evidence over time."""
    title = f"E+ promotes at {rollout.better_at:g}, E- rolls back at {rollout.worse_at:g}"
    table = Table("day", "phase", "rated, new / old", "E+", "E-", title=title)
    for look in spread_out(rollout.evidence, EVIDENCE_ROWS):
        table.add_row(
            number(look.hours / 24),
            look.phase,
            f"{look.newer_users} / {look.older_users}",
            evidence(look.better),
            evidence(look.worse),
        )
    return table


def spread_out(looks: Sequence[EvidencePoint], most: int) -> list[EvidencePoint]:
    """Return at most `most` of the looks, evenly spaced, including the last of each phase."""
    lasts = [
        here
        for here, after in pairwise((*looks, None))
        if here and (after is None or after.phase != here.phase)
    ]
    step = max(1, -(-len(looks) // max(1, most - len(lasts))))
    return [look for index, look in enumerate(looks) if index % step == 0 or look in lasts]


def _base_cell(base: AnswerFigures, title: str) -> str:
    cells = {
        "correct": percent(base.correct),
        "rude": number(base.rude * 100, 1, " %"),
        "words": number(base.words),
    }
    return cells.get(title, "")


def _week_cells(week: WeekReport) -> tuple[str, ...]:
    signals = "\n".join(f"{count} {signal}" for signal, count in week.pairs_by_signal.items())
    rude = None if week.rude is None else week.rude * 100
    return (
        str(week.pairs),
        signals,
        number(week.train_seconds, 0, " s"),
        rate_cell(week.win_vs_live),
        rate_cell(week.win_vs_base),
        percent(week.correct),
        number(rude, 1, " %"),
        number(week.words),
        week.verdict,
        week.live,
        milliseconds(week.swap_seconds),
    )


def rate_cell(rate: MeasuredWinRate | None) -> str:
    """A win rate with its interval and p, in three lines."""
    if rate is None:
        return "-"
    return f"{rate.rate:.1%}\n[{rate.low:.0%}, {rate.high:.0%}]\np = {rate.p:.1g}"
