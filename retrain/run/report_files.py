"""Write a run's report to its folder, as `report.md` and `report.json`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from common.files import PRIVATE_FOLDER, write_whole
from retrain.counterparts.storage import CounterpartFigures
from retrain.dataset.balance.mix import MixChange
from retrain.gates.offline import Verdict
from retrain.judging.storage import JudgeRecord
from retrain.run.context import Ending, RunContext
from retrain.run.report import (
    EvaluationSummary,
    RunReport,
    StageSummary,
    TrainingSummary,
    markdown,
)

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
        judgements=figures.get("judgements", {}),
        interactions=figures.get("interactions", 0),
        labels_by_signal=figures.get("labels_by_signal", {}),
        labels_up=figures.get("labels_up", 0),
        labels_down=figures.get("labels_down", 0),
        pairs_mix=MixChange.model_validate(figures.get("pairs_mix", {})),
        labels_mix=MixChange.model_validate(figures.get("labels_mix", {})),
        left_out_by_filter=figures.get("filters", {}),
        signals=figures.get("signals"),
        counterparts=_counterparts(figures.get("counterparts")),
        hyper_parameters=figures.get("hyper", {}),
        plan=list(figures.get("plan", {}).get("reasons", [])),
        training=_training(figures),
        evaluation=evaluation and EvaluationSummary.model_validate(evaluation),
        verdict=run.verdict and Verdict.model_validate(run.verdict),
        judge=figures.get("judge") and JudgeRecord.model_validate(figures["judge"]),
        seconds=figures.get("seconds", {}),
    )


def _counterparts(figures: Mapping[str, Any] | None) -> CounterpartFigures | None:
    return None if figures is None else CounterpartFigures.model_validate(figures)


def _training(figures: Mapping[str, Any]) -> TrainingSummary | None:
    """Return the training's figures; runs of the previous release have curves of DPO alone."""
    curves: dict[int, list[Mapping[str, Any]]] = {}
    for point in figures.get("curve", []):
        curves.setdefault(point.get("stage", 1), []).append(point)
    if not curves:
        return None
    stages = [
        StageSummary(
            method=curve[0].get("method", "dpo"), first=_metrics(curve[0]), last=_metrics(curve[-1])
        )
        for curve in curves.values()
    ]
    trained_on = _trained_on(figures.get("training", {}))
    return TrainingSummary(steps=figures.get("steps", 0), stages=stages, trained_on=trained_on)


def _trained_on(training: Mapping[str, Any]) -> dict[str, int]:
    pairs = {
        f"pairs: {origin}": count for origin, count in training.get("pairs_by_origin", {}).items()
    }
    labels = {f"labels: {kind}": training.get(f"labels_{kind}", 0) for kind in ("up", "down")}
    return pairs | {name: count for name, count in labels.items() if count}


def _metrics(point: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in point.items() if name not in ("step", "stage", "method")}
