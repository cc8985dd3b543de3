"""The run's report: every number is in it, and nobody's text."""

from datetime import UTC, datetime

import pytest

from retrain.config import GateConfig
from retrain.counterparts.storage import CounterpartFigures
from retrain.dataset.questions import Selection
from retrain.evaluation.result import AnswersByArm, ArmAnswer, Evaluation, Row
from retrain.gates.offline import decide
from retrain.run.report import (
    EvaluationSummary,
    RunReport,
    StageSummary,
    TrainingSummary,
    markdown,
)

pytestmark = pytest.mark.pure

PRIVATE = "nobody else may read this"
STARTED = datetime(2026, 11, 21, 3, tzinfo=UTC)


def answer(words: int) -> ArmAnswer:
    return ArmAnswer(
        text=PRIVATE,
        words=words,
        finish_reason="stop",
        interaction_id="chatcmpl-1",
        completion_tokens=7,
        harms={"rude": 0.25},
    )


def evaluation() -> Evaluation:
    answers = {"candidate": answer(12), "live": answer(10)}
    rows = [
        Row.model_validate(
            {"prompt_id": str(n), "cluster": str(n), "answers": answers, "score": float(n < 9)}
        )
        for n in range(12)
    ]
    return Evaluation(
        arms=AnswersByArm(candidate="pawl@new", live="pawl@base"),
        asked=13,
        rows=rows,
        failed={"ChatError": 1},
    )


@pytest.fixture
def report() -> RunReport:
    found = evaluation()
    selection = Selection(
        prompts=[], available=17, dropped_trained=23, dropped_duplicate=29, dropped_unusable=31
    )
    return RunReport(
        run="pawl-2026-w47",
        channel="pawl",
        slot="2026-w47",
        outcome="rejected",
        base_model="tiny",
        version="2026-w47-3f9c1a",
        started_at=STARTED,
        pairs_by_signal={"preference": 211, "demonstration": 37},
        left_out_by_filter={"cap": 41},
        counterparts=CounterpartFigures(
            questions=61,
            asked=59,
            answers=233,
            outcomes={"pair": 19, "no_winner": 40, "over_budget": 2},
            self_play={"pair": 3},
            seconds=71.6,
            judge="OpenAIJudge",
        ),
        hyper_parameters={"learning_rate": 5e-6, "targets": ["all-linear"], "quant|": None},
        plan=["dpo: 211 pairs, minimum 100"],
        training=TrainingSummary(
            steps=43,
            stages=[StageSummary(method="dpo", first={"loss": 1.86}, last={"loss": 1.25})],
            trained_on={"pairs: people": 211},
        ),
        evaluation=EvaluationSummary.of(found, selection),
        verdict=decide(found.evidence(), GateConfig()),
        seconds={"train": 47.5},
    )


@pytest.mark.parametrize(
    "line",
    [
        "# Run pawl-2026-w47: rejected",
        "| parent | base |",
        "| preference | 211 |",
        "- dpo: 211 pairs, minimum 100",
        "| pairs: people | 211 |",
        "| dpo | loss | 1.86 | 1.25 |",
        "| cap | 41 |",
        "Judge: OpenAIJudge.",
        "59 of 61 questions were asked again and gave 233 answers in 72 seconds.",
        "| no_winner | 40 |",
        "| pair | 3 |",
        "| learning_rate | 5e-06 |",
        "| quant\\| | - |",
        "43 steps.",
        "| different questions available | 17 |",
        "| left out: an ancestor was trained on it | 23 |",
        "| failed: ChatError | 1 |",
        "| candidate | 12 | - | 0.25 |",
        "- 12 different questions were compared; the minimum is 380.",
        "| length:longest | 1.2 | 1.5 | passed |",
        "| wins | 9 |",
        "| train | 47.5 |",
    ],
)
def test_the_markdown_says(report: RunReport, line: str) -> None:
    assert line in markdown(report).splitlines()


def test_nobodys_text_is_in_it(report: RunReport) -> None:
    assert PRIVATE not in markdown(report) + report.to_json()


def test_the_json_holds_the_same_report(report: RunReport) -> None:
    assert RunReport.model_validate_json(report.to_json()) == report


def test_a_run_that_went_nowhere_has_a_short_report() -> None:
    skipped = RunReport(
        run="pawl-2026-w47",
        channel="pawl",
        slot="2026-w47",
        outcome="skipped",
        reason="12 pairs, the minimum is 50",
        base_model="tiny",
        started_at=STARTED,
    )
    assert "12 pairs, the minimum is 50" in markdown(skipped)
    assert "##" not in markdown(skipped)
