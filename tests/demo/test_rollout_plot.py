from xml.etree import ElementTree

import pytest

from demo.report.rollout_models import DecisionReport, RolloutReport
from demo.report.rollout_report import Looks, rollout_report
from tests.demo.rollout_documents import BEGAN, rollout
from tests.lazy_modules import lazy

plot = lazy("demo.report.rollout_plot")

REPORT = rollout_report(rollout(), Looks(), "2026-w49")


def test_the_plot_is_well_formed_takes_the_pages_colour_and_is_reproducible() -> None:
    svg = plot.rollout_plot(REPORT)
    assert ElementTree.fromstring(svg).tag.endswith("svg")  # noqa: S314 (our own)
    assert "currentColor" in svg
    assert svg == plot.rollout_plot(REPORT)


@pytest.mark.parametrize(
    "shown",
    ["E+, first vote", "E-, first day", "better: 100", "worse: 20", "canary 50%", "rolled back"],
)
def test_the_plot_names_the_lines_the_thresholds_and_the_decisions(shown: str) -> None:
    assert shown in plot.rollout_plot(REPORT)


def test_a_rollout_without_a_look_is_drawn_all_the_same() -> None:
    nothing: RolloutReport = REPORT.model_copy(update={"evidence": (), "decisions": ()})
    assert ElementTree.fromstring(plot.rollout_plot(nothing)).tag.endswith("svg")  # noqa: S314


@pytest.mark.parametrize(
    ("phase", "share", "name"),
    [("canary", 0.2, "canary 20%"), ("rolled_back", 0.0, "rolled back"), ("kept", None, "kept")],
)
def test_a_decision_is_named_by_what_it_led_to(phase: str, share: float | None, name: str) -> None:
    decision = DecisionReport(at=BEGAN, hours=0, move="x", phase=phase, share=share, reason="")
    assert plot.name_of(decision) == name
