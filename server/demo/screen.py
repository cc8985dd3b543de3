"""What the demo shows at the terminal: bars while it works, a table when it is done."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from server.demo.figures import AnswerFigures, WinRate
from server.demo.report_models import DemoReport, WeekReport
from server.demo.report_page import number, percent


class Bar:
    """One piece of work under way."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def step(self) -> None:
        """One more is done."""
        self._progress.advance(self._task)

    def at(self, done: int, total: int) -> None:
        """So much of `total` is done."""
        self._progress.update(self._task, completed=done, total=total)

    def tell(self, what: str) -> None:
        """Name what is being done just now."""
        self._progress.update(self._task, detail=what)


class Screen:
    """The terminal; without one, plain lines."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False)

    @contextmanager
    def bar(self, title: str, total: int | None) -> Iterator[Bar]:
        """Show a bar while the body works, and how long it took."""
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
        """One line a week, with the gate's reasons below."""
        self.say(f"[bold]{week.slot}[/]: {week.verdict}; live: {week.live}")
        for reason in week.reasons:
            self.say(f"  - {reason}")

    def show_report(self, report: DemoReport) -> None:
        """The table of all weeks."""
        table = Table(title="Three weeks at Bramblewick" if len(report.weeks) == 3 else None)  # noqa: PLR2004
        for column in COLUMNS:
            table.add_column(column)
        table.add_row("base", *_base_cells(report.base))
        for week in report.weeks:
            table.add_row(week.slot, *_week_cells(week))
        self.console.print(table)
        if report.live_vs_base is not None:
            self.say(f"live against base, at the end: {_rate(report.live_vs_base)}")


COLUMNS = (
    "week",
    "pairs",
    "train s",
    "win vs live",
    "win vs base",
    "correct",
    "rude",
    "words",
    "verdict",
    "live",
    "swap ms",
)


def _base_cells(base: AnswerFigures) -> tuple[str, ...]:
    figures = (percent(base.correct), percent(base.rude), number(base.words))
    return ("", "", "", "", *figures, "", "base", "")


def _week_cells(week: WeekReport) -> tuple[str, ...]:
    signals = ", ".join(f"{count} {signal}" for signal, count in week.pairs_by_signal.items())
    swap = None if week.swap_seconds is None else week.swap_seconds * 1000
    return (
        f"{week.pairs} ({signals})",
        number(week.train_seconds),
        _rate(week.win_vs_live),
        _rate(week.win_vs_base),
        percent(week.correct),
        percent(week.rude),
        number(week.words),
        week.verdict,
        week.live,
        number(swap, 0),
    )


def _rate(rate: WinRate | None) -> str:
    if rate is None:
        return "-"
    return f"{rate.rate:.1%} [{rate.low:.0%}, {rate.high:.0%}] p={rate.p:.1g}"
