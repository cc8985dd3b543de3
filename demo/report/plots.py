"""The report's plots as inline SVG; text and lines take the colour of the page."""

import re
from collections.abc import Iterable, Sequence
from io import StringIO
from math import nan
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from demo.report.report_models import DemoReport, WeekReport
from demo.shop.world import STYLE_SHARES

INK = "#0f1e2d"
"""Placeholder for the page's text colour while drawing; replaced by `currentColor`."""
WEEK_COLOURS = ("#e9a23b", "#2a9d8f", "#6c7ae0", "#d1495b", "#8a94a6")
BASE_COLOUR, LIVE_COLOUR = "#2a9d8f", "#6c7ae0"
STYLE_COLOURS = {
    "helpful": "#2a9d8f",
    "curt": "#8a94a6",
    "long": "#e9a23b",
    "guess": "#6c7ae0",
    "rude": "#d1495b",
}
LABELLED_SHARE = 0.08
"""The smallest share in the style plot that gets a label."""

_LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def win_rate_plot(report: DemoReport) -> str:
    """Plot each week's win rate against base and against the version then live, with intervals."""
    with plot_style("win-rate"):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        _win_rates(axes, report.weeks, "win_vs_base", "against base", BASE_COLOUR, -0.07)
        _win_rates(axes, report.weeks, "win_vs_live", "against live", LIVE_COLOUR, 0.07)
        axes.axhline(0.5, color=INK, linewidth=1, linestyle=(0, (4, 4)), alpha=0.6)
        axes.set_xticks(range(len(report.weeks)), _week_names(report.weeks))
        axes.set_xlim(-0.5, max(1, len(report.weeks)) - 0.5)
        axes.set_ylim(*_win_limits(report.weeks))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="y", color=INK, alpha=0.12)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
        return as_svg(figure)


def training_plot(report: DemoReport) -> str:
    """Plot reward margin and accuracy over each week's training steps."""
    with plot_style("training"):
        figure = Figure(figsize=(13.2, 3.8), layout="constrained")
        margin, accuracy = figure.subplots(1, 2)
        for index, week in enumerate(report.weeks):
            colour = WEEK_COLOURS[index % len(WEEK_COLOURS)]
            steps = [step.step for step in week.steps]
            line: dict[str, Any] = {"color": colour, "linewidth": 2, "label": week.slot}
            margin.plot(steps, _values(step.margin for step in week.steps), **line)
            accuracy.plot(steps, _values(step.accuracy for step in week.steps), **line)
        margin.set_title("Reward margin", loc="left", fontsize=11)
        accuracy.set_title("Reward accuracy", loc="left", fontsize=11)
        accuracy.set_ylim(0.3, 1.02)
        accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        for axes in (margin, accuracy):
            axes.set_xlabel("training step")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(axis="y", color=INK, alpha=0.12)
        if report.weeks:
            accuracy.legend(loc="lower right")
        return as_svg(figure)


def _values(found: Iterable[float | None]) -> list[float]:
    """Return the values; one that the method does not have leaves a gap in the line."""
    return [nan if value is None else value for value in found]


def style_plot(report: DemoReport) -> str:
    """Plot the shares of answering styles of base and of each week's candidate."""
    mixes = [report.base.style_mix, *(week.style_mix for week in report.weeks)]
    names = ["base", *_week_names(report.weeks)]
    with plot_style("styles"):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        bottoms = [0.0] * len(mixes)
        for style in _styles_from_best():
            shares = [mix.get(style, 0.0) for mix in mixes]
            bars = axes.bar(names, shares, 0.62, bottoms, color=STYLE_COLOURS[style], label=style)
            labels = [f"{share:.0%}" if share >= LABELLED_SHARE else "" for share in shares]
            axes.bar_label(bars, labels, label_type="center", color="white", fontsize=10)
            bottoms = [low + share for low, share in zip(bottoms, shares, strict=True)]
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        handles, texts = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], texts[::-1], loc="center left", bbox_to_anchor=(1, 0.5))
        return as_svg(figure)


def _win_rates(
    axes: Axes, weeks: Sequence[WeekReport], name: str, label: str, colour: str, shift: float
) -> None:
    """Draw one series of rates with their intervals; weeks without a figure are left out."""
    measured = [
        (index, rate)
        for index, week in enumerate(weeks)
        if (rate := getattr(week, name)) is not None
    ]
    axes.errorbar(
        [index + shift for index, _ in measured],
        [rate.rate for _, rate in measured],
        yerr=[
            [rate.rate - rate.low for _, rate in measured],
            [rate.high - rate.rate for _, rate in measured],
        ],
        color=colour,
        label=label,
        marker="o",
        markersize=7,
        linewidth=1.6,
        elinewidth=2,
        capsize=4,
    )


def _win_limits(weeks: Sequence[WeekReport]) -> tuple[float, float]:
    lows = [rate.low for week in weeks for rate in (week.win_vs_base, week.win_vs_live) if rate]
    return min([0.4, *(low - 0.05 for low in lows)]), 1.0


def _week_names(weeks: Sequence[WeekReport]) -> list[str]:
    return [f"{week.slot}\n{week.verdict}" for week in weeks]


def _styles_from_best() -> list[str]:
    """Return the styles in the order of the colours, with the good ones at the bottom."""
    return [style for style in STYLE_COLOURS if style in STYLE_SHARES]


def plot_style(name: str) -> Any:
    """Return matplotlib's settings for a plot; `name` makes its SVG ids unique on the page."""
    return mpl.rc_context(_LOOK | {"svg.hashsalt": name})


def as_svg(figure: Figure) -> str:
    """Return the figure as SVG without a fixed size, with the page's text colour."""
    FigureCanvasSVG(figure)
    out = StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return svg.replace(INK, "currentColor")
