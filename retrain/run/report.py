"""The report of a run, as Markdown and JSON. It has all figures and no user text."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict

from retrain.counterparts.storage import CounterpartFigures
from retrain.dataset.balance.mix import MixChange
from retrain.dataset.questions import Selection
from retrain.evaluation.result import Arm, Evaluation
from retrain.gates.judge_text import judge_sentences
from retrain.gates.offline import CallCounts, Verdict, WinRate
from retrain.judging.storage import JudgeRecord
from retrain.signal_figures import SignalFigures

Setting = bool | int | float | str | list[str] | list[float] | None


class StageSummary(BaseModel):
    """One stage of the training: its method, and each metric's first and last value."""

    model_config = ConfigDict(frozen=True)

    method: str
    first: dict[str, float]
    last: dict[str, float]


class TrainingSummary(BaseModel):
    """The number of optimizer steps, and what each stage's curve began and ended with.

    `trained_on` counts the pairs by origin and the labels.
    """

    model_config = ConfigDict(frozen=True)

    steps: int
    stages: list[StageSummary]
    trained_on: dict[str, int] = {}


class EvaluationSummary(BaseModel):
    """The figures of an evaluation, without user text.

    `available` to `dropped_unusable` are those of `Selection`; `failed` counts prompts and cases by
    error class. Mean words, mean harms and passed cases are by arm.
    """

    model_config = ConfigDict(frozen=True)

    asked: int
    compared: int
    available: int
    dropped_trained: int
    dropped_duplicate: int
    dropped_unusable: int
    failed: dict[str, int]
    words: dict[Arm, float]
    harms: dict[Arm, dict[str, float]]
    assertion_cases: int
    assertions_passed: dict[Arm, int]
    calls: CallCounts = CallCounts()
    against_live: WinRate
    against_base: WinRate

    @classmethod
    def of(cls, evaluation: Evaluation, selection: Selection) -> Self:
        """Compute the figures of an evaluation and of the selection of its prompts."""
        suite = evaluation.suite
        return cls(
            asked=evaluation.asked,
            compared=len(evaluation.rows),
            available=selection.available,
            dropped_trained=selection.dropped_trained,
            dropped_duplicate=selection.dropped_duplicate,
            dropped_unusable=selection.dropped_unusable,
            failed=evaluation.failed,
            words=evaluation.words(),
            harms=evaluation.harms(),
            assertion_cases=suite.cases if suite else 0,
            assertions_passed=suite.passed if suite else {},
            calls=evaluation.calls(),
            against_live=evaluation.against_live(),
            against_base=evaluation.against_base(),
        )


class RunReport(BaseModel):
    """All figures of a run. Parts that the run did not reach are None or empty.

    `parent` is None if live was the base model. `outcome` is the run's final state, `reason` its
    one-line explanation. `seconds` are by step. `plan`
    says which methods were chosen and why.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    channel: str
    slot: str
    outcome: str
    reason: str | None = None
    base_model: str
    parent: str | None = None
    version: str | None = None
    started_at: datetime
    finished_at: datetime | None = None
    interactions: int = 0
    judgements: dict[str, int] = {}
    pairs_by_signal: dict[str, int] = {}
    labels_by_signal: dict[str, int] = {}
    labels_up: int = 0
    labels_down: int = 0
    pairs_mix: MixChange = MixChange()
    labels_mix: MixChange = MixChange()
    left_out_by_filter: dict[str, int] = {}
    signals: SignalFigures | None = None
    counterparts: CounterpartFigures | None = None
    plan: list[str] = []
    hyper_parameters: dict[str, Setting] = {}
    training: TrainingSummary | None = None
    evaluation: EvaluationSummary | None = None
    verdict: Verdict | None = None
    judge: JudgeRecord | None = None
    seconds: dict[str, float] = {}

    def to_json(self) -> str:
        """Return the report as indented JSON."""
        return self.model_dump_json(indent=2)


def markdown(report: RunReport) -> str:
    """Return the report as Markdown; it ends with a newline."""
    blocks = [
        f"# Run {report.run}: {report.outcome}",
        *([report.reason] if report.reason else []),
        _table(("", ""), _origin(report)),
        *_section("Judgements", _judgements(report)),
        *_section("Pairs", _numbers(("signal", "pairs"), report.pairs_by_signal)),
        *_section("Labels", _labels(report)),
        *_section("Left out", _numbers(("filter", "events"), report.left_out_by_filter)),
        *_section("Mix", [*_mix("pairs", report.pairs_mix), *_mix("labels", report.labels_mix)]),
        *_section("Without a button", _signals(report.signals)),
        *_section("Counterparts", _counterparts(report.counterparts)),
        *_section("Plan", _bullets(report.plan)),
        *_section("Hyper-parameters", _numbers(("setting", "value"), report.hyper_parameters)),
        *_section("Training", _training(report.training)),
        *_section("Evaluation", _evaluation(report.evaluation)),
        *_section("Verdict", _verdict(report.verdict)),
        *_section("Judge", _judge(report)),
        *_section("Seconds", _numbers(("step", "seconds"), report.seconds)),
    ]
    return "\n\n".join(blocks) + "\n"


def _origin(report: RunReport) -> list[tuple[str, object]]:
    return [
        ("channel", report.channel),
        ("slot", report.slot),
        ("version", report.version or "none"),
        ("parent", report.parent or "base"),
        ("base model", report.base_model),
        ("started", report.started_at.isoformat(timespec="seconds")),
        ("finished", _moment(report.finished_at)),
    ]


def _judgements(report: RunReport) -> list[str]:
    """Return what became of the judgements, each counted once, from all interactions on."""
    if not report.judgements:
        return []
    read = sum(report.judgements.values())
    counts = {"interactions": report.interactions, "judgements": read, **report.judgements}
    return _numbers(("became", "count"), counts)


def _labels(report: RunReport) -> list[str]:
    counts = {"good": report.labels_up, "bad": report.labels_down}
    shown = {**counts, **report.labels_by_signal} if any(counts.values()) else {}
    return _numbers(("labels", "count"), shown)


def _mix(name: str, change: MixChange) -> list[str]:
    rows = change.rows()
    return [_table((f"group of the {name}", "before", "after"), rows)] if rows else []


def _counterparts(figures: CounterpartFigures | None) -> list[str]:
    if figures is None:
        return []
    asked = (
        f"{figures.asked} of {figures.questions} questions were asked again and gave "
        f"{figures.answers} answers in {figures.seconds:.0f} seconds."
    )
    return [
        f"No counterparts: {figures.why_not}." if figures.why_not else f"Judge: {figures.judge}.",
        *([asked] if figures.questions else []),
        *_numbers(("rated answers", "count"), figures.outcomes),
        *_numbers(("self-play", "count"), figures.self_play),
        *_numbers(("synthetic questions", "count"), figures.synthetic),
    ]


def _training(training: TrainingSummary | None) -> list[str]:
    if training is None:
        return []
    rows = [
        (stage.method, name, stage.first.get(name), stage.last.get(name))
        for stage in training.stages
        for name in sorted(stage.first.keys() | stage.last.keys())
    ]
    return [
        f"{training.steps} steps.",
        *_numbers(("trained on", "count"), training.trained_on),
        _table(("method", "metric", "first", "last"), rows),
    ]


def _bullets(lines: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {line}" for line in lines)] if lines else []


def _evaluation(summary: EvaluationSummary | None) -> list[str]:
    if summary is None:
        return []
    counts = {
        "different questions available": summary.available,
        "asked": summary.asked,
        "compared": summary.compared,
        "left out: an ancestor was trained on it": summary.dropped_trained,
        "left out: asked already": summary.dropped_duplicate,
        "left out: not a chat": summary.dropped_unusable,
        **{f"failed: {name}": count for name, count in sorted(summary.failed.items())},
    }
    if summary.calls.due:
        counts |= {
            "a tool is needed": summary.calls.due,
            "tool call missing": summary.calls.missing,
            "another tool called": summary.calls.another,
            "tool call invalid": summary.calls.invalid,
        }
    rates = {"live": summary.against_live, "base": summary.against_base}
    return [*_numbers(("prompts", "count"), counts), _win_rates(rates), *_arms(summary)]


def _win_rates(rates: Mapping[str, WinRate]) -> str:
    header = ("candidate against", "wins", "losses", "ties", "rate", "95 % interval", "p")
    return _table(
        header,
        [
            (name, w.wins, w.losses, w.ties, w.rate, f"{w.low:.3f} to {w.high:.3f}", w.p)
            for name, w in rates.items()
        ],
    )


def _arms(summary: EvaluationSummary) -> list[str]:
    harms = sorted({name for measured in summary.harms.values() for name in measured})
    header = ("arm", "mean words", "assertions passed", *harms)
    rows = [
        (
            arm,
            words,
            _passed(summary, arm),
            *(summary.harms.get(arm, {}).get(name) for name in harms),
        )
        for arm, words in summary.words.items()
    ]
    return [_table(header, rows)] if rows else []


def _passed(summary: EvaluationSummary, arm: Arm) -> str | None:
    passed = summary.assertions_passed.get(arm)
    return None if passed is None else f"{passed} of {summary.assertion_cases}"


def _verdict(verdict: Verdict | None) -> list[str]:
    if verdict is None:
        return []
    numbers = verdict.model_dump(exclude={"outcome", "reasons", "guardrails", "judge"})
    guardrails = [
        (rail.name, rail.value, rail.limit, "passed" if rail.passed else "failed")
        for rail in verdict.guardrails
    ]
    return [
        f"**{verdict.outcome}**",
        "\n".join(f"- {reason}" for reason in verdict.reasons),
        _table(("number", "value"), numbers.items()),
        _table(("guardrail", "value", "limit", ""), guardrails),
    ]


def _signals(figures: SignalFigures | None) -> list[str]:
    if figures is None:
        return []
    rows = [
        *((f"weight of {name}", value) for name, value in figures.weights.items()),
        *((f"question asked again: {name}", count) for name, count in figures.repeated.items()),
        *((f"next messages: {name}", count) for name, count in figures.messages.items()),
    ]
    return [_table(("sign", "value"), rows)]


def _judge(report: RunReport) -> list[str]:
    """Return what is known about the judge, and about the one that the run trained."""
    check = report.verdict and report.verdict.judge
    said = judge_sentences(check.model_dump()) if check else []
    lines = ["\n".join(f"- {sentence}" for sentence in said)] if said else []
    if report.judge is None:
        return lines
    own = report.judge
    facts = {"trained": own.trained, "why": own.reason, "seconds": own.seconds}
    if own.ranking is not None:
        facts["AUROC on held-out people"] = own.ranking.auroc
        facts["AUROC, 95 % interval"] = f"{own.ranking.low:.3f} to {own.ranking.high:.3f}"
    return [*lines, _table(("reward model", ""), facts.items()), *_votes(own)]


def _votes(judge: JudgeRecord) -> list[str]:
    return [
        *_numbers(("signal", "votes"), judge.signals),
        *_numbers(("votes of the run", "votes"), judge.sources),
    ]


def _section(title: str, blocks: Sequence[str]) -> list[str]:
    return [f"## {title}", *blocks] if blocks else []


def _numbers(header: tuple[str, str], values: Mapping[str, object]) -> list[str]:
    return [_table(header, values.items())] if values else []


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _moment(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds") if moment else "not yet"
