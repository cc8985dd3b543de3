"""Choose the methods that a run trains with, from what there is to learn from. Pure.

The dry run, the snapshot and the training ask the same function. Before the step that looks for
counterparts has run, the pairs that it may add count as possible.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

from pydantic import BaseModel, ConfigDict

from retrain.config import Method, RetrainConfig
from retrain.trainer.examples.fit import too_few

ANSWERS_PER_PAIR = 2


@dataclass(frozen=True, slots=True)
class Counts:
    """What a run could be trained on.

    Attributes:
        pairs: Pairs that fit, whatever their origin.
        demonstrations: Those of them whose better answer a person wrote.
        labels_up: Answers that were judged good by themselves and are in no pair.
        labels_down: Answers that were judged bad by themselves and are in no pair.
        possible_pairs: Pairs that may still be added before training.
        sides_up: Chosen answers of the pairs that people judged themselves; None: of all pairs.
        sides_down: Rejected answers of the pairs that people judged themselves; None: of all.
        misfits: Number of pairs that cannot be trained on, by reason.
        longest: Tokens of the longest pair that is too long, else 0.

    """

    pairs: int = 0
    demonstrations: int = 0
    labels_up: int = 0
    labels_down: int = 0
    possible_pairs: int = 0
    sides_up: int | None = None
    sides_down: int | None = None
    misfits: Mapping[str, int] = field(default_factory=dict)
    longest: int = 0

    @property
    def labels(self) -> int:
        """Number of answers that were judged by themselves."""
        return self.labels_up + self.labels_down


class PlannedStage(BaseModel):
    """One method of a plan, and the number of rows that it is planned on.

    `unpaired` says, for KTO, that the answers of the pairs count as labels as well.
    """

    model_config = ConfigDict(frozen=True)

    method: Method
    rows: int
    unpaired: bool = False


class Plan(BaseModel):
    """The stages of a training, in order, and why they were chosen, one line each.

    Without a stage nothing is trained; then the reasons say what is missing.
    """

    model_config = ConfigDict(frozen=True)

    stages: tuple[PlannedStage, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def why_not(self) -> str | None:
        """Why nothing would be trained, in one line; None if something would be."""
        return None if self.stages else "; ".join(self.reasons)

    def stage(self, method: Method) -> PlannedStage | None:
        """Return the stage of a method, if it is in the plan."""
        return next((stage for stage in self.stages if stage.method == method), None)


def most_beside(others: int, share: float) -> float:
    """Return how many rows there may be at most beside `others`, to be `share` of all of them."""
    return inf if share >= 1 else share * others / (1 - share)


def possible_pairs(counts: Counts, config: RetrainConfig) -> int:
    """Return how many pairs the step `counterparts` may add at most: one for each label."""
    most = most_beside(counts.pairs, config.counterparts.share)
    return int(min(counts.labels, config.counterparts.questions, most))


def plan_stages(counts: Counts, config: RetrainConfig, judged: bool) -> Plan:  # noqa: FBT001
    """Choose the stages of a training.

    Args:
        counts: What there is to learn from.
        config: The method, and how much each method needs.
        judged: Whether a judge finds counterparts for answers that were judged by themselves.

    """
    if config.method == "auto":
        return _automatic(counts, config, judged=judged)
    found = _ALONE[config.method](counts, config)
    return _plan([found])


@dataclass(frozen=True, slots=True)
class _Choice:
    """Whether a method is in the plan (`stage` is not None), and why."""

    stage: PlannedStage | None
    reason: str


def _plan(choices: list[_Choice]) -> Plan:
    stages = tuple(choice.stage for choice in choices if choice.stage is not None)
    return Plan(stages=stages, reasons=tuple(choice.reason for choice in choices))


def _automatic(counts: Counts, config: RetrainConfig, *, judged: bool) -> Plan:
    """Plan SFT before something else, DPO, and KTO for answers that would be lost otherwise."""
    dpo = _pairs("dpo", counts, config)
    kto = _labels_beside(counts, config, dpo, judged=judged)
    preferring = [dpo, *([kto] if counts.labels else [])]
    sft = _demonstrations(counts, config)
    follows = any(choice.stage is not None for choice in preferring)
    if follows and counts.demonstrations:
        return _plan([sft, *preferring])
    return _plan(preferring)


def _pairs(method: Method, counts: Counts, config: RetrainConfig) -> _Choice:
    """Choose DPO or ORPO if there are enough pairs."""
    pairs = counts.pairs + counts.possible_pairs
    if pairs >= config.minimum_pairs:
        possible = f", {counts.possible_pairs} of them possible" if counts.possible_pairs else ""
        reason = f"{method}: {pairs} pairs{possible}, minimum {config.minimum_pairs}"
        return _Choice(PlannedStage(method=method, rows=pairs), reason)
    length = config.hyper.max_length
    left_out = (counts.misfits, length, counts.longest)
    return _Choice(None, too_few(pairs, config.minimum_pairs, *left_out))


def _dpo(counts: Counts, config: RetrainConfig) -> _Choice:
    return _pairs("dpo", counts, config)


def _orpo(counts: Counts, config: RetrainConfig) -> _Choice:
    return _pairs("orpo", counts, config)


def _demonstrations(counts: Counts, config: RetrainConfig) -> _Choice:
    """Choose SFT if there are enough demonstrations."""
    shown, least = counts.demonstrations, config.minimum_demonstrations
    if shown < least:
        return _Choice(None, f"{shown} demonstrations, fewer than the minimum of {least} for sft")
    reason = f"sft: {shown} demonstrations, minimum {least}"
    return _Choice(PlannedStage(method="sft", rows=shown), reason)


def _kto(counts: Counts, config: RetrainConfig) -> _Choice:
    """Choose KTO if there are enough judged answers, those of pairs included."""
    return _labels(counts, config, unpaired=True)


def _labels_beside(counts: Counts, config: RetrainConfig, dpo: _Choice, *, judged: bool) -> _Choice:
    """Choose KTO beside DPO, or in its place if there are too few pairs.

    Beside DPO only where most of the judged answers are in no pair and nobody finds counterparts.
    """
    if counts.labels < config.minimum_labels:
        return _Choice(None, _few_labels(counts.labels, config))
    if dpo.stage is None:
        return _labels(counts, config, unpaired=True)
    if judged:
        return _Choice(None, f"no kto: {counts.labels} labels, the judge finds counterparts")
    if counts.labels <= ANSWERS_PER_PAIR * counts.pairs:
        return _Choice(None, f"no kto: {counts.labels} labels, most judged answers are in pairs")
    return _labels(counts, config, unpaired=False)


def _labels(counts: Counts, config: RetrainConfig, *, unpaired: bool) -> _Choice:
    """Choose KTO if there are enough labels of both kinds and the batch has room for two."""
    good, bad = counts.labels_up, counts.labels_down
    if unpaired:
        good += counts.pairs if counts.sides_up is None else counts.sides_up
        bad += counts.pairs if counts.sides_down is None else counts.sides_down
    if good + bad < config.minimum_labels:
        return _Choice(None, _few_labels(good + bad, config))
    if not good or not bad:
        kind = "good" if good else "bad"
        return _Choice(None, f"no kto: all of the {good + bad} labels are {kind}, it needs both")
    if config.hyper.per_device_batch == 1:
        return _Choice(None, "no kto: it needs retrain.hyper.per_device_batch of 2 or more")
    reason = f"kto: {good + bad} labels ({good} good, {bad} bad), minimum "
    stage = PlannedStage(method="kto", rows=good + bad, unpaired=unpaired)
    of_pairs = good + bad - counts.labels
    note = f"; {of_pairs} of them are answers of pairs" if of_pairs else ""
    return _Choice(stage, f"{reason}{config.minimum_labels}{note}")


def _few_labels(labels: int, config: RetrainConfig) -> str:
    return f"{labels} labels, fewer than the minimum of {config.minimum_labels} for kto"


_ALONE: Mapping[Method, Callable[[Counts, RetrainConfig], _Choice]] = {
    "dpo": _dpo,
    "kto": _kto,
    "orpo": _orpo,
    "sft": _demonstrations,
}
"""The choice where one method is set."""
