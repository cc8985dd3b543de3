"""Write a run's report to its folder, as `report.md` and `report.json`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from common.files import PRIVATE_FOLDER, write_whole
from retrain.gates.offline import Verdict
from retrain.run.context import Ending, RunContext
from retrain.run.report import EvaluationSummary, RunReport, TrainingSummary, markdown

MARKDOWN, JSON = "report.md", "report.json"


def write_report(context: RunContext, ending: Ending, finished_at: datetime) -> None:
    """Write both reports, replacing earlier ones."""
    report = run_report(context, ending, finished_at)
    context.folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    write_whole(context.folder / MARKDOWN, markdown(report).encode())
    write_whole(context.folder / JSON, report.to_json().encode())


def run_report(context: RunContext, ending: Ending, finished_at: datetime) -> RunReport:
    """Return the run's report; parts that it did not reach are left out."""
    run, figures = context.run, context.run.figures
    evaluation = figures.get("evaluation")
    return RunReport(
        run=run.id,
        channel=run.channel,
        slot=run.slot,
        outcome=ending.state,
        reason=ending.reason,
        base_model=context.environment.base.name,
        parent=run.parent,
        version=run.version,
        started_at=run.created_at,
        finished_at=finished_at,
        pairs_by_signal=figures.get("pairs_by_signal", {}),
        left_out_by_filter=figures.get("filters", {}),
        hyper_parameters=figures.get("hyper", {}),
        training=_training(figures.get("curve", []), figures.get("steps", 0)),
        evaluation=evaluation and EvaluationSummary.model_validate(evaluation),
        verdict=run.verdict and Verdict.model_validate(run.verdict),
        seconds=figures.get("seconds", {}),
    )


def _training(curve: Sequence[Mapping[str, Any]], steps: int) -> TrainingSummary | None:
    if not curve:
        return None
    return TrainingSummary(steps=steps, first=_metrics(curve[0]), last=_metrics(curve[-1]))


def _metrics(point: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in point.items() if name != "step"}
