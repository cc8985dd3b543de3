import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from demo.report.figures import AnswerFigures, win_rate_of
from demo.report.report_models import DemoReport, SampleAnswer, StepReport, WeekReport
from demo.report.rollout_report import Looks, rollout_report
from tests.demo.rollout_documents import WORSE, rollout
from tests.lazy_modules import lazy

plots = lazy("demo.report.plots")
report_page = lazy("demo.report.report_page")

BASE = AnswerFigures(
    n=400,
    correct=0.72,
    polite=0.5,
    rude=0.17,
    words=15.3,
    utility=1.1,
    style_mix={"curt": 0.3, "helpful": 0.2, "long": 0.2, "rude": 0.2, "guess": 0.1},
)
PROMOTED = WeekReport(
    slot="2026-w47",
    pairs=356,
    pairs_by_signal={"preference": 240, "thumbs": 116},
    train_seconds=31.2,
    win_vs_base=win_rate_of(260, 80, 60),
    win_vs_live=win_rate_of(250, 80, 70),
    correct=0.83,
    rude=0.03,
    words=11.2,
    verdict="promoted",
    reasons=("p is under alpha",),
    live="2026-w47-3f9c1a",
    swap_seconds=0.41,
    style_mix={"helpful": 1.0},
    steps=tuple(StepReport(step=n, loss=1.8, margin=n / 9, accuracy=0.7) for n in (1, 2, 3)),
)
SKIPPED = WeekReport(
    slot="2026-w48",
    pairs=3,
    pairs_by_signal={},
    verdict="skipped",
    reasons=("3 pairs are fewer than <50>",),
    live="2026-w47-3f9c1a",
)
REPORT = DemoReport(
    seed=0,
    seconds=655,
    base=BASE,
    weeks=(PROMOTED, SKIPPED),
    live_vs_base=win_rate_of(260, 80, 60),
    examples=(SampleAnswer(question="<script>alert(1)</script>", base="a & b", live="<i>c</i>"),),
    libraries={"trl": "1.16.0"},
)


def test_the_json_gives_the_report_back_and_win_rates_have_five_figures(tmp_path: Path) -> None:
    figures, _ = report_page.write_report(tmp_path / "new", REPORT)
    assert DemoReport.model_validate_json(figures.read_bytes()) == REPORT
    week = json.loads(figures.read_bytes())["weeks"][0]
    assert set(week["win_vs_base"]) == {"rate", "low", "high", "p", "n"}
    assert week["steps"][0] == {"step": 1, "loss": 1.8, "margin": 1 / 9, "accuracy": 0.7}


def test_the_page_shows_every_week_with_its_figures(tmp_path: Path) -> None:
    _, page = report_page.write_report(tmp_path, REPORT)
    html = page.read_text(encoding="utf-8")
    for shown in ("2026-w47-3f9c1a", "356", "31 s", "410 ms", "83%", "skipped", "p is under alpha"):
        assert shown in html
    assert "72% → 83%" in html


def test_every_text_on_the_page_is_escaped() -> None:
    html = report_page.render(REPORT)
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<i>c</i>" not in html
    assert "fewer than &lt;50&gt;" in html


def test_a_slot_is_escaped_inside_the_plots_as_well() -> None:
    week = PROMOTED.model_copy(update={"slot": "<b>$x^2$</b>"})
    assert "<b>$x" not in report_page.render(REPORT.model_copy(update={"weeks": (week,)}))


def test_the_page_loads_nothing_from_outside() -> None:
    assert not re.search(
        r'(src|href)="(?!#)', report_page.render(REPORT).replace("xlink:href", "href")
    )


@pytest.mark.parametrize("weeks", [(), (SKIPPED,), (PROMOTED, SKIPPED)])
def test_the_page_renders_whatever_weeks_there_were(weeks: tuple[WeekReport, ...]) -> None:
    html = report_page.render(DemoReport(seed=0, seconds=1, base=BASE, weeks=weeks))
    assert html.rstrip().endswith("</html>")


@pytest.mark.parametrize("name", ["win_rate_plot", "training_plot", "style_plot"])
def test_a_plot_is_well_formed_takes_the_pages_colour_and_is_reproducible(name: str) -> None:
    plot = getattr(plots, name)
    svg = plot(REPORT)
    assert ElementTree.fromstring(svg).tag.endswith("svg")  # noqa: S314 (our own)
    assert "currentColor" in svg
    assert svg == plot(REPORT)


WITH_ROLLOUT = REPORT.model_copy(
    update={"rollouts": (rollout_report(rollout(), Looks(), "2026-w49"),)}
)


def test_the_page_shows_when_and_why_a_rollout_ended_and_its_plot() -> None:
    html = report_page.render(WITH_ROLLOUT)
    for shown in (WORSE, "Tue 24 Nov 09:00", "rolled back", "E+, first vote", "worse: 20"):
        assert shown in html


def test_the_json_holds_the_rollouts(tmp_path: Path) -> None:
    figures, _ = report_page.write_report(tmp_path, WITH_ROLLOUT)
    assert DemoReport.model_validate_json(figures.read_bytes()) == WITH_ROLLOUT


def test_a_rollouts_texts_are_escaped_too() -> None:
    document = rollout() | {"reason": "<script>alert(2)</script>"}
    report = rollout_report(document, Looks(), "2026-w49")
    html = report_page.render(REPORT.model_copy(update={"rollouts": (report,)}))
    assert "<script>alert(2)" not in html


def test_without_a_rollout_the_page_says_nothing_of_one() -> None:
    assert "What users decided" not in report_page.render(REPORT)


def test_live_is_base_until_something_is_promoted() -> None:
    nothing = DemoReport(seed=0, seconds=1, base=BASE, weeks=())
    assert (nothing.live, nothing.live_week) == ("base", None)
    assert REPORT.live_week == PROMOTED


@pytest.mark.parametrize(
    ("p", "text"), [(0.5, "p = .5"), (0.034, "p = .034"), (1e-9, "p < .001"), (1.0, "p = 1")]
)
def test_p_values_are_read_as_usual(p: float, text: str) -> None:
    assert report_page.chance(p) == text


def test_libraries_that_are_not_installed_are_left_out() -> None:
    assert set(report_page.library_versions(["pydantic", "no-such-library"])) == {"pydantic"}


def test_the_page_tells_of_paid_raters_only_where_their_adapter_was_rolled_back() -> None:
    kept = rollout_report(rollout(phase="kept"), Looks(), "2026-w49")
    assert "paid by the piece" in report_page.render(WITH_ROLLOUT)
    assert "paid by the piece" not in report_page.render(
        REPORT.model_copy(update={"rollouts": (kept,)})
    )
