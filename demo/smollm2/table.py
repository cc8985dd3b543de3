"""The result of `pawl demo --model smollm2` on a terminal."""

from rich.markup import escape
from rich.table import Table

from demo.report.report_page import NOTHING, number, percent
from demo.screen import Screen, rate_cell
from demo.smollm2.report import PlainReport


def show_plain_report(screen: Screen, report: PlainReport) -> None:
    """Print the figures, with a column for each week, and answers before and after."""
    weeks = report.weeks
    made = [week.figures for week in weeks]
    table = Table("", "base", *(week.slot for week in weeks))
    table.add_row("pairs", "", *(str(week.pairs) for week in weeks))
    table.add_row("training", "", *(number(week.train_seconds, 0, " s") for week in weeks))
    table.add_row("win against base", "", *(rate_cell(week.win_vs_base) for week in weeks))
    words = (number(one.words) if one else NOTHING for one in made)
    table.add_row("words", number(report.base.words), *words)
    finished = (percent(one.finished) if one else NOTHING for one in made)
    table.add_row("finished", percent(report.base.finished), *finished)
    table.add_row("verdict", "", *(week.verdict for week in weeks))
    table.add_row("live", "", *(week.live for week in weeks))
    screen.console.print(table)
    for example in report.examples:
        screen.say(f"\n[bold]{escape(example.question)}[/]")
        screen.say(f"  before: {escape(example.base)}\n  after:  {escape(example.candidate)}")
