import tomllib
from pathlib import Path
from typing import Any

import pytest

from demo.smollm2.asking import PlainVisit
from demo.smollm2.people import make_people
from demo.smollm2.settings import smollm2_settings
from server.settings import Settings
from tests.lazy_modules import lazy

report_page = lazy("demo.report.report_page")
smollm2_report = lazy("demo.smollm2.report")
weeks = lazy("demo.smollm2.weeks")

pytestmark = pytest.mark.pure

ASKED = {"one": "How do I clean a burnt pan?", "two": "Why do cats purr?"}
LONG, SHORT = "Pans are a kind of thing that " * 5, "Soak the pan or ask the cats."


def rows() -> list[dict[str, Any]]:
    return [
        {"prompt_id": name, "answers": {"live": {"text": LONG}, "candidate": {"text": SHORT}}}
        for name in ASKED
    ]


def run(verdict: dict[str, Any] | None, **changed: Any) -> dict[str, Any]:
    figures = {"pairs": 120, "train_seconds": 200.0}
    state = {"slot": "2026-w50", "state": "promoted", "reason": None, "verdict": verdict}
    return {**state, "figures": figures, **changed}


def test_the_file_is_what_the_server_takes() -> None:
    text = smollm2_settings(Path("model"), 3, 2)
    settings = Settings.model_validate(tomllib.loads(text))
    assert settings.retrain.seed == 3
    assert settings.retrain.hyper.threads == 2


def test_in_the_first_week_the_candidate_is_compared_with_live_as_base() -> None:
    week = weeks.plain_week(run({"reasons": ["better"]}), rows(), ASKED, "2026-w50-abc")
    assert week.win_vs_base is not None
    assert (week.win_vs_base, week.win_vs_base.rate) == (week.win_vs_live, 1.0)
    assert week.figures is not None
    assert week.figures.finished == 1.0


def test_a_skipped_week_has_a_reason_and_no_figures() -> None:
    week = weeks.plain_week(run(None, state="skipped", reason="too few pairs"), [], ASKED, "base")
    assert (week.figures, week.reasons) == (None, ("too few pairs",))


def test_a_person_compares_two_different_answers_only() -> None:
    visit = PlainVisit(make_people(1, seed=0)[0], ASKED["one"])
    assert weeks.compared_answers(visit, [SHORT, SHORT]) == []
    (said,) = weeks.compared_answers(visit, [LONG, SHORT])
    assert said.metric == "preference"


def test_the_page_shows_answers_before_and_after_escaped() -> None:
    texts = [SHORT, SHORT]
    report = smollm2_report.PlainReport(
        seed=0,
        seconds=1200,
        base=smollm2_report.plain_figures(list(ASKED.values()), texts),
        weeks=(weeks.plain_week(run({"reasons": ["better"]}), rows(), ASKED, "2026-w50-abc"),),
        examples=(smollm2_report.PlainExample(question="Why?", base="<b>", candidate="Because."),),
    )
    page = report_page.page_of("smollm2.html.j2", report=report)
    assert "&lt;b&gt;" in page
    assert "Because." in page
    assert "2026-w50" in page
