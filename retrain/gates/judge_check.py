"""Whether a judge may gate: what is known about its agreement with held-out people. Pure."""

from typing import Literal

from common.frozen_model import FrozenModel
from retrain.config import GateConfig
from retrain.gates.judge_agreement import Agreement
from retrain.gates.judge_correction import Corrected

Basis = Literal["candidate", "comparisons", "thumbs"]


class JudgeCheck(FrozenModel):
    """What a run measured about its judge.

    Attributes:
        judge: What judges.
        trained: Whether the run trained it itself (`judge = "people"`).
        basis: What it was held against: people's comparisons of live and the candidate; all
            comparisons of held-out people; or their thumbs, where they compared too little. By
            thumbs, the agreement is how often an answer with a thumb up has a higher score than one
            with a thumb down (AUROC).
        agreement: With people; None if they said nothing that it could be held against.
        people_alone: How far people agree with themselves on the same answers, if known.
        people_together: How far people agree with each other on the same answers, if known.
        corrected: The candidate's win rate against live, corrected for the judge's errors.
        distrust: Why it does not gate; None if it does.

    """

    judge: str
    trained: bool = False
    basis: Basis = "comparisons"
    agreement: Agreement | None = None
    people_alone: Agreement | None = None
    people_together: Agreement | None = None
    corrected: Corrected | None = None
    distrust: str | None = None


def checked(check: JudgeCheck, config: GateConfig) -> JudgeCheck:
    """Return the check with its decision: whether the judge may gate.

    A judge gates if the lower bound of its agreement with people is high enough. Of few comparisons
    the bound is always low; then a judge that an operator chose gates, as its choice is all there
    is, and one that the run trained does not, as nothing shows that it learned anything.
    """
    return check.model_copy(update={"distrust": _distrust(check, config)})


def _distrust(check: JudgeCheck, config: GateConfig) -> str | None:
    found = check.agreement
    if found is None or found.comparisons < config.agreement_comparisons:
        return _unmeasured(found, config) if check.trained else None
    if found.low >= config.agreement:
        return None
    return (
        f"the judge agrees with held-out people on {found.rate:.1%} of {found.comparisons} "
        f"{_named(check.basis)}; the lower 95 % bound is {found.low:.1%}, "
        f"retrain.gate.agreement asks for {config.agreement:.1%}"
    )


def _unmeasured(found: Agreement | None, config: GateConfig) -> str:
    seen = 0 if found is None else found.comparisons
    return (
        f"the judge could be held against {seen} judgements of held-out people only, "
        f"retrain.gate.agreement_comparisons asks for {config.agreement_comparisons}"
    )


def _named(basis: Basis) -> str:
    match basis:
        case "candidate":
            return "comparisons of live and the candidate"
        case "comparisons":
            return "comparisons"
        case "thumbs":
            return "rated answers (AUROC)"
