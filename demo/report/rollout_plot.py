"""The plot of a rollout: the evidence of both streams over time, and the decisions."""

from collections.abc import Sequence
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from demo.report.plots import INK, as_svg, plot_style
from demo.report.rollout_models import DecisionReport, EvidencePoint, RolloutReport

BETTER_COLOUR, WORSE_COLOUR = "#2a9d8f", "#d1495b"
LEAST, MOST = 1e-3, 1e6
"""The range of e-values that is shown; values outside are drawn at the edge, since the decision is
made long before."""
LINES = (
    ("first_better", "E+, first vote", BETTER_COLOUR, "solid"),
    ("day_better", "E+, first day", BETTER_COLOUR, (0, (4, 2))),
    ("first_worse", "E-, first vote", WORSE_COLOUR, "solid"),
    ("day_worse", "E-, first day", WORSE_COLOUR, (0, (4, 2))),
)
_DAY = 24.0


def rollout_plot(report: RolloutReport) -> str:
    """Plot the e-values of both streams over the rollout's days, as SVG; each phase starts at 1."""
    with plot_style(f"rollout-{report.version}"):
        figure = Figure(figsize=(13.2, 4.2), layout="constrained")
        axes = figure.subplots()
        for index, (_, looks) in enumerate(groupby(report.evidence, lambda point: point.phase)):
            _evidence(axes, list(looks), labelled=index == 0)
        _threshold(axes, report.better_at, BETTER_COLOUR, "better")
        _threshold(axes, report.worse_at, WORSE_COLOUR, "worse")
        _decisions(axes, report.decisions)
        axes.set_yscale("log")
        axes.set_ylim(LEAST, MOST)
        axes.set_xlim(left=0)
        axes.set_xlabel("days since the rollout began")
        axes.set_ylabel("evidence (E value)")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=INK, alpha=0.12)
        if report.evidence:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        return as_svg(figure)


def _evidence(axes: Axes, looks: Sequence[EvidencePoint], *, labelled: bool) -> None:
    """Draw one phase, whose e-values start at 1."""
    days = [look.hours / _DAY for look in looks]
    for name, label, colour, dashes in LINES:
        axes.step(
            days,
            [min(max(getattr(look, name), LEAST), MOST) for look in looks],
            where="post",
            color=colour,
            linestyle=dashes,
            linewidth=2,
            marker="o",
            markevery=[-1],
            markersize=5,
            label=label if labelled else "_",
        )


def _threshold(axes: Axes, value: float, colour: str, claim: str) -> None:
    axes.axhline(value, color=colour, linewidth=1, linestyle=(0, (1, 2)))
    axes.text(0.002, value * 1.15, f"{claim}: {value:g}", transform=axes.get_yaxis_transform())


def _decisions(axes: Axes, decisions: Sequence[DecisionReport]) -> None:
    """Draw a labelled line at each decision; of several at one time only the last is labelled."""
    last = {round(one.hours, 2): one for one in decisions}
    for one in last.values():
        ends = one is decisions[-1]  # labelled on its left, inside the plot
        axes.axvline(one.hours / _DAY, color=INK, linewidth=1, alpha=0.5)
        axes.text(
            one.hours / _DAY,
            MOST / 1.4,
            f" {name_of(one)} ",
            rotation=90,
            va="top",
            ha="right" if ends else "left",
            fontsize=10,
        )


def name_of(decision: DecisionReport) -> str:
    """Return the label of a decision: `canary 20%`, `rolled back`."""
    name = decision.phase.replace("_", " ")
    return f"{name} {decision.share:.0%}" if decision.share else name
